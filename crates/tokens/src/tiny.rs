//! The tokenizer of the model that is in the repository, for tests.

use crate::source::{self, Files};
use crate::text::TextCodec;

const FILES: [(&str, &[u8]); 2] = [
    ("tokenizer.json", include_bytes!("../../../models/warmroute-tiny/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../../models/warmroute-tiny/tokenizer_config.json")),
];

/// A new one, which remembers nothing yet.
pub(crate) fn codec() -> TextCodec {
    source::codec(&Files::Embedded(&FILES)).expect("the repository's tokenizer loads")
}
