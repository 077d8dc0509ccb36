//! What a loop has counted, held against what there is.

use crate::{
    proto::Stage,
    server::{event_loop::Loop, kernel::Kernel},
    session::{CloseCause, Handler, HandshakeEnd},
};

/// After every turn: the gauges are what a walk over all sessions finds.
pub(super) fn gauges_are_true<K: Kernel, H: Handler>(server: &Loop<K, H>) {
    let metrics = server.metrics();
    let (mut stages, mut queued) = ([0, 0, 0], 0);
    for id in server.sessions.ids() {
        let connection = server.sessions.get(id).expect("a session of that name").connection();
        queued += connection.queued_bytes() as u64;
        stages[match connection.stage() {
            Stage::Opening => 0,
            Stage::Open => 1,
            Stage::Closing => 2,
        }] += 1;
    }
    let counted = &metrics.sessions;
    assert_eq!([counted.opening, counted.open, counted.closing], stages, "sessions by stage");
    assert_eq!(metrics.queued_bytes, queued, "octets queued");
}

/// At the end: as many ends as there were reports of them, and nothing left.
pub(super) fn ends_add_up<K: Kernel, H: Handler>(server: &Loop<K, H>, opened: usize, failed: usize, accepted: usize) {
    gauges_are_true(server);
    let metrics = server.metrics();
    let counted = &metrics.sessions;
    let not_opened = HandshakeEnd::ALL.iter().filter(|end| **end != HandshakeEnd::Opened);
    assert_eq!(counted.handshakes(HandshakeEnd::Opened), opened as u64, "opened");
    assert_eq!(not_opened.map(|end| counted.handshakes(*end)).sum::<u64>(), failed as u64, "not opened");
    assert_eq!(CloseCause::ALL.iter().map(|cause| counted.closes(*cause)).sum::<u64>(), opened as u64, "closed");
    assert_eq!(metrics.accepted + metrics.accepted_tls, accepted as u64, "accepted");
}
