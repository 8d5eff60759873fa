//! The two layers of a topic together.


