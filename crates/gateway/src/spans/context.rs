//! `traceparent` (W3C Trace Context, level 1): which trace a request belongs to, and which span asked.

use http::HeaderValue;

use super::header;

/// Where a request stands in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: u128,
    /// The span that asked, if another did.
    pub(super) parent: Option<u64>,
    /// Whether it is told of.
    pub(super) sampled: bool,
}

impl Context {
    /// A trace that begins here.
    pub(super) fn new(trace: u128) -> Self {
        Self { trace, parent: None, sampled: true }
    }

    /// What a header says; nothing if it is none. Versions to come may say more behind what this one does.
    pub(super) fn read(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let mut parts = text.split('-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let lower = part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            lower.then(|| u128::from_str_radix(part, 16).ok()).flatten()
        };
        let (version, trace, parent, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let ends = version != 0 || parts.next().is_none();
        let parent = u64::try_from(parent).ok().filter(|parent| *parent != 0)?;
        (version != 0xff && trace != 0 && ends).then_some(Self {
            trace,
            parent: Some(parent),
            sampled: flags & 1 == 1,
        })
    }

    /// The header for whom the span `parent` asks.
    pub(super) fn write(&self, parent: u64) -> HeaderValue {
        header(&format!("00-{:032x}-{parent:016x}-{:02x}", self.trace, u8::from(self.sampled)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Option<Context> {
        Context::read(&HeaderValue::from_static(text))
    }

    #[test]
    fn what_is_written_is_read() {
        let context = Context::new(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        let written = context.write(0x00f0_67aa_0ba9_02b7);
        assert_eq!(written, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let parent = Some(0x00f0_67aa_0ba9_02b7);
        assert_eq!(Context::read(&written), Some(Context { parent, ..context }));
    }

    #[test]
    fn what_is_no_context_is_none_and_the_flag_counts() {
        for text in [
            "",
            "00",
            "00-0-0-00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(read("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some());
        let unsampled = read("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
        assert!(!unsampled.unwrap().sampled);
    }
}
