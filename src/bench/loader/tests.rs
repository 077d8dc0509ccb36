use super::*;
use crate::{bench::series::Series, proto::Closure};

#[test]
fn what_happens_to_a_connection_that_has_ended_is_not_blamed_on_the_next() {
    let means = Means::Message { kind: MessageKind::Binary, frame_bytes: None };
    let recorder = Recorder::new(Series::new(None, 10));
    let payload = Payload::random(8, false, 1);
    let mut loader = Loader::new(Clock::start(), payload, means, true, 1, recorder, ToString::to_string);
    let ids = [0, 1].map(|key| ConnId { key, generation: 1 });
    for id in ids {
        loader.begun(id);
        loader.lanes[id.key as usize].state = State::Open;
        loader.opened += 1;
    }
    loader.on_close(ids[0], &Closure::Eof);
    loader.on_error(ids[0], &io::Error::from(io::ErrorKind::ConnectionReset));
    loader.on_close(ids[1], &Closure::Eof);
    let kinds: Vec<_> = loader.recorder.errors.0.iter().map(|(kind, (count, _))| (*kind, *count)).collect();
    assert_eq!(kinds, [(ErrorKind::Closed, 2)]);
}

#[test]
fn an_error_belongs_where_its_message_does_and_a_lost_connection_counts() {
    let means = Means::Message { kind: MessageKind::Binary, frame_bytes: None };
    let recorder = Recorder::new(Series::new(None, 10));
    let payload = Payload::random(8, false, 1);
    let mut loader = Loader::new(Clock::start(), payload, means, true, 100, recorder, ToString::to_string);
    let ids = [0, 1].map(|key| ConnId { key, generation: 1 });
    for id in ids {
        loader.begun(id);
        loader.lanes[id.key as usize].state = State::Open;
        loader.opened += 1;
    }
    let write = |loader: &mut Loader| {
        loader.is_due(ids[0], None);
        let lane = &mut loader.lanes[0];
        lane.has_queued();
        let _ = lane.is_written(0).count();
    };
    // Three of the warm-up, of which two are answered later, one of these too late; then two that count.
    (0..3).for_each(|_| write(&mut loader));
    let wrong = |loader: &mut Loader| {
        let counts = loader.lanes[0].expects_counted();
        loader.is_wrong(counts, |_| "wrong".to_owned());
        loader.settle(ids[0], 8, false);
    };
    wrong(&mut loader);
    loader.on_close(ids[1], &Closure::Eof);
    loader.count_from(1);
    (0..2).for_each(|_| write(&mut loader));
    wrong(&mut loader);
    loader.now = 1_000;
    loader.settle(ids[0], 8, true);
    wrong(&mut loader);
    loader.settle(ids[0], 8, true);
    let of = |errors: &errors::Errors| -> Vec<_> { errors.0.iter().map(|(kind, one)| (*kind, one.0)).collect() };
    let expected = [(ErrorKind::Closed, 1), (ErrorKind::WrongEcho, 1), (ErrorKind::Timeout, 1)];
    assert_eq!(of(&loader.recorder.errors), expected);
    assert_eq!(of(&loader.recorder.warmup_errors), [(ErrorKind::WrongEcho, 2), (ErrorKind::Timeout, 1)]);
}
