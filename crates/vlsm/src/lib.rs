//! vlsm
