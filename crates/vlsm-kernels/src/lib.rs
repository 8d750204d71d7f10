//! vlsm-kernels
