//! Nodes by number.

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use iroh::{EndpointId, SecretKey};

/// The ids that were asked for, and which node each is of. Comparing ids takes long without
/// optimization, so they are looked up by their bytes.
#[derive(Default)]
struct Ids {
    all: Vec<EndpointId>,
    numbers: BTreeMap<[u8; 32], usize>,
}

impl Ids {
    fn with<T>(act: impl FnOnce(&mut Self) -> T) -> T {
        static IDS: OnceLock<Mutex<Ids>> = OnceLock::new();
        let ids = IDS.get_or_init(Mutex::default);
        act(&mut ids.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The id of node `n`.
pub(in crate::net::tests) fn id(n: usize) -> EndpointId {
    Ids::with(|ids| {
        while ids.all.len() <= n {
            let number = ids.all.len();
            let mut seed = [0x5e; 32];
            seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
            let id = SecretKey::from_bytes(&seed).public();
            ids.all.push(id);
            ids.numbers.insert(*id.as_bytes(), number);
        }
        ids.all[n]
    })
}

/// Which node an id is of.
pub(in crate::net::tests) fn number(id: &EndpointId) -> usize {
    Ids::with(|ids| ids.numbers.get(id.as_bytes()).copied()).unwrap_or(usize::MAX)
}
