//! The bounded configurations, each a test. Faults that matter to each other stand together.

use super::{
    search::{hold, loses_nothing},
    world::{Left, Setting, World},
};

use crate::protocol::bugs::Bug;

const KEY: &[usize] = &[0];
const TAG: &[usize] = &[3];
const OTHER_TAG: &[usize] = &[4];
const BOTH_TAGS: &[usize] = &[3, 4];

const COLD: Setting = Setting {
    is_lazy: false,
    has_outbox: false,
    has_backplane: false,
    is_rolling: false,
    is_warm: false,
    is_l1_warm: false,
};
/// L2 has a value, L1 has not.
const L2_WARM: Setting = Setting { is_warm: true, ..COLD };
const WARM: Setting = Setting { is_l1_warm: true, ..L2_WARM };
const OUTBOX: Setting = Setting { has_outbox: true, ..L2_WARM };
const HEARING: Setting = Setting { has_backplane: true, ..WARM };
const NONE: Left = Left {
    evictions: 0,
    lost_messages: 0,
    lost_replies: 0,
    cut_links: 0,
    cut_lines: 0,
    saves: 0,
    falls: 0,
    flushes: 0,
    ticks: 0,
    beats: 0,
    expiries: 0,
    crashes: 0,
    doubts: 0,
    cancels: 0,
    failures: 0,
    others: 0,
};

/// Small enough for every run of the tests.
#[test]
fn small_a_reader_in_each_process_and_a_write() {
    let left = Left { evictions: 1, ..NONE };
    hold("small", &World::new(L2_WARM, left, &[0, 1], &[(0, KEY)]), &[Bug::F, Bug::H, Bug::T2]);
}

#[test]
fn small_a_message_is_lost() {
    let left = Left { lost_messages: 1, ticks: 2, beats: 1, ..NONE };
    hold(
        "small lost message",
        &World::new(HEARING, left, &[], &[(0, TAG)]),
        &[Bug::J, Bug::WindowElsewhere],
    );
}

#[test]
fn small_the_order_of_a_look() {
    let left = Left { others: 1, ..NONE };
    hold("small look", &World::new(L2_WARM, left, &[0, 1], &[(1, TAG)]), &[Bug::X5, Bug::X5c]);
}

/// All features and faults, each in a world so small that all its states can be gone through
/// without any reduction.
#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn reductions_lose_nothing() {
    let world = World::new;
    let one = Left { evictions: 1, others: 1, ..NONE };
    loses_nothing("evictions", &world(WARM, one, &[0, 1], &[(1, TAG)]));
    let one = Left { cancels: 1, failures: 1, ..NONE };
    loses_nothing("join", &world(COLD, one, &[0, 0], &[(0, TAG)]));
    let one = Left { lost_messages: 1, ticks: 2, beats: 1, ..NONE };
    loses_nothing("lost message", &world(HEARING, one, &[], &[(0, TAG)]));
    let one = Left { lost_messages: 1, ticks: 2, ..NONE };
    loses_nothing("window", &world(HEARING, one, &[1], &[(0, TAG)]));
    let lazy = Setting { is_lazy: true, ..WARM };
    let one = Left { expiries: 2, ..NONE };
    loses_nothing("expiry", &world(lazy, one, &[1], &[(0, OTHER_TAG), (0, KEY)]));
    let one = Left { cut_links: 1, ..NONE };
    loses_nothing("queue", &world(L2_WARM, one, &[0], &[(0, KEY), (1, TAG)]));
    loses_nothing("outbox", &world(OUTBOX, one, &[1], &[(0, KEY)]));
    let one = Left { saves: 1, falls: 1, ..NONE };
    loses_nothing("failover", &world(COLD, one, &[1], &[(1, TAG)]));
    let one = Left { lost_replies: 1, ..NONE };
    loses_nothing("lost answer", &world(L2_WARM, one, &[0, 1], &[(0, KEY)]));
    let one = Left { doubts: 1, ..NONE };
    loses_nothing("doubt", &world(L2_WARM, one, &[0], &[(0, KEY)]));
    let rolling = Setting { is_rolling: true, ..COLD };
    loses_nothing("rolling", &world(rolling, NONE, &[0, 1], &[(0, KEY)]));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_cold_readers_against_a_key_and_a_tag() {
    hold(
        "cold",
        &World::new(COLD, NONE, &[0, 1], &[(0, KEY), (1, TAG)]),
        &[Bug::A, Bug::B, Bug::D, Bug::T4],
    );
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_three_cold_readers_against_a_key_and_a_tag() {
    hold("three readers", &World::new(COLD, NONE, &[0, 1, 1], &[(0, KEY), (1, TAG)]), &[Bug::C]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_three_readers_of_one_process_join_each_other() {
    let left = Left { cancels: 1, failures: 1, ..NONE };
    hold("join", &World::new(COLD, left, &[0, 0, 0], &[(0, TAG), (1, KEY)]), &[Bug::G, Bug::X1]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_evictions_anywhere() {
    let left = Left { evictions: 1, others: 1, ..NONE };
    hold(
        "evictions",
        &World::new(WARM, left, &[0, 1, 1], &[(0, KEY), (1, TAG)]),
        &[Bug::T2, Bug::T4],
    );
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_several_tags_in_one_write() {
    let left = Left { others: 2, ..NONE };
    hold(
        "tags",
        &World::new(L2_WARM, left, &[0, 1], &[(0, BOTH_TAGS), (1, OTHER_TAG)]),
        &[Bug::FirstName],
    );
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_a_lazy_tag_and_expiry() {
    let setting = Setting { is_lazy: true, ..WARM };
    let left = Left { expiries: 2, ..NONE };
    hold("lazy", &World::new(setting, left, &[0, 1], &[(0, OTHER_TAG)]), &[Bug::LazyNever]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_refreshes_of_a_soft_expired_value() {
    let left = Left { expiries: 2, evictions: 1, ..NONE };
    hold("refresh", &World::new(WARM, left, &[0, 1], &[(0, TAG)]), &[Bug::T4, Bug::X5]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_messages_are_lost_and_time_passes() {
    let left = Left { lost_messages: 1, ticks: 2, beats: 2, ..NONE };
    hold(
        "lost messages",
        &World::new(HEARING, left, &[1], &[(0, TAG)]),
        &[Bug::J, Bug::PublishOutside],
    );
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_messages_of_two_writes_are_lost() {
    let left = Left { lost_messages: 1, ticks: 2, beats: 1, ..NONE };
    let world = World::new(HEARING, left, &[1], &[(0, TAG), (0, KEY)]);
    hold("two messages", &world, &[Bug::J]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_the_sequence_is_lost() {
    let left = Left { lost_messages: 1, evictions: 1, ticks: 2, beats: 2, ..NONE };
    hold("lost sequence", &World::new(HEARING, left, &[], &[(0, TAG), (0, TAG)]), &[Bug::J]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_the_backplane_reconnects() {
    let left = Left { cut_lines: 1, ticks: 2, beats: 1, ..NONE };
    hold("reconnects", &World::new(HEARING, left, &[1], &[(0, KEY)]), &[Bug::J]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_a_flight_outlives_the_window() {
    let left = Left { lost_messages: 1, ticks: 2, beats: 1, ..NONE };
    let setting = Setting { is_warm: false, is_l1_warm: false, ..HEARING };
    hold("window", &World::new(setting, left, &[1, 1], &[(0, TAG)]), &[Bug::J2]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_failover_to_what_lacks_the_invalidation() {
    let left = Left { saves: 1, falls: 1, beats: 1, ticks: 1, ..NONE };
    hold("failover", &World::new(HEARING, left, &[1], &[(0, KEY)]), &[Bug::K]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_failover_under_readers_that_load() {
    let left = Left { saves: 1, falls: 1, ..NONE };
    hold("failover cold", &World::new(COLD, left, &[0, 1], &[(0, TAG)]), &[Bug::K]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_a_failover_to_what_has_no_sequence() {
    let left = Left { saves: 1, falls: 1, evictions: 1, beats: 2, ticks: 2, ..NONE };
    let world = World::new(HEARING, left, &[], &[(0, TAG)]);
    hold("restart", &world, &[Bug::SequenceMissing]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_flushall() {
    let left = Left { flushes: 1, lost_messages: 1, ticks: 2, beats: 1, ..NONE };
    hold("flushall", &World::new(HEARING, left, &[1], &[(0, KEY)]), &[Bug::J]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_answers_are_lost() {
    let left = Left { lost_replies: 3, ..NONE };
    hold("lost answers", &World::new(WARM, left, &[0, 1], &[(0, KEY), (1, TAG)]), &[Bug::H]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_redis_is_away_and_writes_are_queued() {
    let left = Left { cut_links: 2, ..NONE };
    hold("queued", &World::new(L2_WARM, left, &[0, 1], &[(0, KEY), (0, TAG)]), &[Bug::NoDirt]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_a_writer_dies_and_the_relay_takes_over() {
    let left = Left { crashes: 1, lost_replies: 1, lost_messages: 1, ticks: 2, beats: 1, ..NONE };
    let setting = Setting { has_outbox: true, ..HEARING };
    let mut world = World::new(setting, left, &[1], &[(0, TAG)]);
    world.commit(0);
    world.crash(0);
    hold("relay", &world, &[Bug::RelayDeaf]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_the_drain_barrier_after_every_outage() {
    let left = Left { crashes: 1, cut_links: 2, ..NONE };
    hold("barrier", &World::new(OUTBOX, left, &[1], &[(0, KEY)]), &[Bug::BarrierSkips]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_the_drain_barrier_between_two_readers() {
    let left = Left { crashes: 1, cut_links: 1, ..NONE };
    hold("barrier readers", &World::new(OUTBOX, left, &[1, 1], &[(0, KEY)]), &[Bug::BarrierSkips]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_the_drain_barrier_of_the_writers_process() {
    let left = Left { cut_links: 2, ..NONE };
    hold("barrier own", &World::new(OUTBOX, left, &[0], &[(0, KEY)]), &[Bug::BarrierSkips]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_the_drain_barrier_in_both_processes() {
    let left = Left { cut_links: 1, ..NONE };
    hold("barrier both", &World::new(OUTBOX, left, &[0, 1], &[(0, KEY)]), &[Bug::BarrierSkips]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_a_commit_without_an_answer() {
    let left = Left { doubts: 1, cut_links: 1, ..NONE };
    hold("doubt", &World::new(L2_WARM, left, &[0, 1], &[(0, KEY)]), &[Bug::NoDirt]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_a_commit_without_an_answer_beside_a_write() {
    let left = Left { doubts: 1, ..NONE };
    let world = World::new(L2_WARM, left, &[0, 1], &[(0, KEY), (1, TAG)]);
    hold("doubt and write", &world, &[Bug::NoDirt]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_two_schema_versions() {
    let setting = Setting { is_rolling: true, ..WARM };
    let left = Left { evictions: 1, ..NONE };
    hold(
        "rolling",
        &World::new(setting, left, &[0, 1, 1], &[(0, KEY), (1, TAG)]),
        &[Bug::FirstName],
    );
}

#[test]
#[cfg_attr(debug_assertions, ignore = "for `make model`")]
fn large_two_schema_versions_without_l1() {
    let setting = Setting { is_rolling: true, ..L2_WARM };
    let left = Left { evictions: 1, ..NONE };
    let world = World::new(setting, left, &[0, 1], &[(0, KEY), (1, TAG)]);
    hold("rolling cold", &world, &[Bug::FirstName]);
}
