//! Samples for prompted segmentation.
