//! Many changes cut into pieces, so that no request waits behind all of them.

use warmroute_kv::{KvEvent, KvEvents};

/// The same changes in the same order, in pieces of up to so many blocks.
pub(crate) fn pieces(events: KvEvents, most_blocks: usize) -> Vec<KvEvents> {
    let blocks = |event: &KvEvent| match event {
        KvEvent::Stored { blocks, .. } | KvEvent::Removed { blocks } => blocks.len(),
        KvEvent::Cleared => 0,
    };
    if events.iter().map(blocks).sum::<usize>() <= most_blocks {
        return vec![events];
    }
    let (mut pieces, mut piece, mut room) = (Vec::new(), KvEvents::new(), most_blocks);
    for part in events.into_iter().flat_map(|event| cut(event, most_blocks)) {
        if blocks(&part) > room {
            pieces.push(std::mem::take(&mut piece));
            room = most_blocks;
        }
        room -= blocks(&part);
        piece.push(part);
    }
    pieces.push(piece);
    pieces
}

/// One change as several of up to so many blocks each.
fn cut(event: KvEvent, most_blocks: usize) -> Vec<KvEvent> {
    match event {
        KvEvent::Stored { mut parent, blocks } => {
            let part = |blocks: &[_]| {
                let event = KvEvent::Stored { parent, blocks: blocks.to_vec() };
                parent = blocks.last().copied().unwrap_or(parent);
                event
            };
            blocks.chunks(most_blocks).map(part).collect()
        }
        KvEvent::Removed { blocks } => {
            blocks.chunks(most_blocks).map(|blocks| KvEvent::Removed { blocks: blocks.to_vec() }).collect()
        }
        KvEvent::Cleared => vec![KvEvent::Cleared],
    }
}

#[cfg(test)]
mod tests {
    use warmroute_kv::BlockHash;

    use super::*;

    #[test]
    fn the_same_is_told_in_the_same_order_a_few_blocks_at_a_time() {
        let names = |from: u64, to: u64| (from..to).map(BlockHash).collect::<Vec<_>>();
        let stored = |parent, blocks| KvEvent::Stored { parent: BlockHash(parent), blocks };
        let removed = |blocks| KvEvent::Removed { blocks };
        let events =
            vec![stored(0, names(1, 8)), KvEvent::Cleared, removed(names(20, 22)), stored(0, names(30, 31))];
        let cut = pieces(events.clone(), 3);
        let expected = [
            vec![stored(0, names(1, 4))],
            vec![stored(3, names(4, 7))],
            vec![stored(6, names(7, 8)), KvEvent::Cleared, removed(names(20, 22))],
            vec![stored(0, names(30, 31))],
        ];
        assert_eq!(cut, expected);
        assert_eq!(pieces(events.clone(), 100), [events]);
    }
}
