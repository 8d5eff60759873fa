//! Hostile peers over real QUIC: what they do to a node, its honest neighbors do not notice.
//!
//! Every test has a node with three honest neighbors, and an attack on the node. While it lasts
//! and after it, every honest message reaches every honest node once, the node has at least two
//! honest neighbors, what it keeps is within its bounds, and it has counted what it refused.
#![cfg(all(feature = "net", feature = "metrics"))]

mod arena;
mod attacks;
#[path = "../common/mod.rs"]
mod common;

use arena::Arena;

macro_rules! withstands {
    ($($attack:ident,)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
        async fn $attack() {
            Arena::new().await.withstand(attacks::named(stringify!($attack))).await;
        })+

        #[test]
        fn every_attack_is_withstood() {
            let tested = [$(stringify!($attack)),+];
            let all: Vec<_> = attacks::ALL.iter().map(|attack| attack.name).collect();
            assert_eq!(tested[..], all[..]);
        }
    };
}

withstands! {
    garbage_frames,
    length_of_four_gigabytes,
    frames_of_one_byte,
    a_byte_at_a_time,
    half_a_header,
    headers_and_never_a_frame,
    half_frames_and_silence,
    a_thousand_streams,
    streams_of_one_topic,
    streams_reset_midway,
    streams_in_a_loop,
    streams_stopped,
    reads_nothing,
    reads_nothing_and_asks,
    connections_in_a_loop,
    connections_kept,
    joins_and_leaves,
    urgent_requests_and_leaves,
    twenty_sybils,
    self_naming_forward_joins,
    made_up_forward_joins,
    spoofed_shuffles,
    shuffles_with_invalid_keys,
    unsolicited_shuffle_replies,
    shuffle_replies_of_a_neighbor,
    shuffles_to_black_holes,
    peer_data_of_all_sizes,
    peer_data_always_new,
    made_up_announcements,
    strangers_grafts,
    grafts_of_the_unknown,
    grafts_of_the_known,
    prunes_and_grafts,
    false_hashes,
    the_same_again,
    rounds_at_the_end,
    frames_of_the_maximum,
}
