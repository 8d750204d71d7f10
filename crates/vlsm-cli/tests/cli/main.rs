//! Whole commands, through the built program, on generated data and bases.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod augment;
mod cache;
mod data;
mod demo;
mod docs;
mod endpoint;
mod eval;
mod export;
mod faults;
mod folder;
mod instruction_set;
mod interrupted;
mod library;
mod model;
mod models;
mod negatives;
mod precision;
mod predict;
mod prepare;
mod prompts;
mod recipes;
mod refer;
mod report;
mod resize;
mod segment_labels;
mod segment_study;
mod segments;
mod semantic;
mod shell;
mod snapshots;
mod study;
mod support;
mod train;
