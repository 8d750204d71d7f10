//! vlsm-train
