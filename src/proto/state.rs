//! All topics of a node.

/// The protocol state of a node.
#[derive(Debug)]
pub struct State<PI>(std::marker::PhantomData<PI>);
