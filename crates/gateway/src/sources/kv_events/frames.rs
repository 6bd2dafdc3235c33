//! The frames in which engines publish and replay: pure, so that both forms can be read in a test.

use bytes::Bytes;
use zeromq::ZmqMessage;

/// What stands behind the last replayed message.
const END: u64 = u64::MAX;

/// One numbered batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub sequence: u64,
    pub payload: Bytes,
}

/// A live message: topic, number, batch. `None` if it is anything else.
pub(super) fn live(message: &ZmqMessage) -> Option<Numbered> {
    match message.len() {
        3 => last_two(message),
        _ => None,
    }
}

/// A replayed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Replayed {
    Batch(Numbered),
    End,
}

/// A replayed message: an empty frame, the topic (since vLLM 0.26), number, batch.
pub(super) fn replayed(message: &ZmqMessage) -> Option<Replayed> {
    if !(3..=4).contains(&message.len()) {
        return None;
    }
    let numbered = last_two(message)?;
    Some(if numbered.sequence == END { Replayed::End } else { Replayed::Batch(numbered) })
}

/// The request for everything from this number on.
pub(super) fn request(from: u64) -> ZmqMessage {
    let mut message = ZmqMessage::from(Bytes::new());
    message.push_back(Bytes::copy_from_slice(&from.to_be_bytes()));
    message
}

fn last_two(message: &ZmqMessage) -> Option<Numbered> {
    let length = message.len();
    let number: [u8; 8] = message.get(length.checked_sub(2)?)?.as_ref().try_into().ok()?;
    let payload = message.get(length - 1)?.clone();
    Some(Numbered { sequence: u64::from_be_bytes(number), payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(frames: &[&[u8]]) -> ZmqMessage {
        let mut message = ZmqMessage::from(Bytes::copy_from_slice(frames[0]));
        frames[1..].iter().for_each(|frame| message.push_back(Bytes::copy_from_slice(frame)));
        message
    }

    #[test]
    fn replies_with_and_without_a_topic_are_read() {
        let seven = 7_u64.to_be_bytes();
        let batch = Replayed::Batch(Numbered { sequence: 7, payload: Bytes::from_static(b"x") });
        assert_eq!(replayed(&message(&[b"", &seven, b"x"])), Some(batch.clone()));
        assert_eq!(replayed(&message(&[b"", b"topic", &seven, b"x"])), Some(batch));
        assert_eq!(replayed(&message(&[b"", &[0xff; 8], b""])), Some(Replayed::End));
        assert_eq!(replayed(&message(&[b"", b"topic", &[0xff; 8], b""])), Some(Replayed::End));
    }

    #[test]
    fn other_frames_are_refused() {
        for frames in
            [&[b"".as_slice()][..], &[b"", b"x"], &[b"", b"short", b"x"], &[b"", b"", b"", b"", b""]]
        {
            assert_eq!((live(&message(frames)), replayed(&message(frames))), (None, None), "{frames:?}");
        }
    }
}
