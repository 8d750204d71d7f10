//! vlsm-models
