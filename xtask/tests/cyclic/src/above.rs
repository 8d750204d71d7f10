use super::*;
use crate::ground;

pub struct Above(First, ground::Ground);
