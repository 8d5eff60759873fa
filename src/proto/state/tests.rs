//! The state of a node against the requirements that cross its layers; the numbers are those of
//! the design's list of what is done better.

use super::*;
