//! Filling a tree after many were added: an added leaf leaves the nodes above it blank or incomplete, and commits are
//! large until updates have filled them.

use std::collections::BTreeSet;

use openmls::prelude::{LeafNodeIndex, ParentNode};
use openmls::treesync::TreeSync;

use super::{MlsError, inspect, parse};

/// The place of a leaf in the order in which updates fill the tree soonest: leaves by their index with its bits reversed,
/// so that each of the first updates fills a path through a part of the tree that no earlier one touched. `leaves` is how
/// wide the tree is; ranks are below the next power of two.
pub fn warm_rank(leaf: u32, leaves: u32) -> u32 {
    match depth(leaves) {
        0 => 0,
        depth => leaf.reverse_bits() >> (u32::BITS - depth),
    }
}

/// Whether a node above this leaf is blank, or does not yet stand for all leaves below it. Nodes that an update leaves
/// blank, as there is nobody on their other side (RFC 9420 section 4.1.2), do not count.
pub(super) fn path_is_cold(tree: &TreeSync, leaf: LeafNodeIndex) -> Result<bool, MlsError> {
    let own = leaf.u32();
    let others = tree.full_leaves().map(|(index, _)| index.u32()).filter(|other| *other != own);
    // The highest bit in which two leaves differ is the level at which their paths meet.
    let levels: BTreeSet<u32> = others.map(|other| u32::BITS - (other ^ own).leading_zeros()).collect();
    let path: Vec<u32> = levels.into_iter().map(|level| parent_of(own, level)).collect();
    let mut warm = 0;
    for (_, node) in tree.full_parents().filter(|(index, _)| path.contains(&index.u32())) {
        if has_unmerged(node)? {
            return Ok(true);
        }
        warm += 1;
    }
    Ok(warm < path.len())
}

/// Levels of parents above the leaves of a tree, which is always full.
fn depth(leaves: u32) -> u32 {
    leaves.checked_next_power_of_two().map_or(u32::BITS, u32::trailing_zeros)
}

/// Which of the parents, counted from the left, is `level` above a leaf (RFC 9420 appendix C).
fn parent_of(leaf: u32, level: u32) -> u32 {
    let (leaf, half) = (u64::from(leaf), 1_u64 << level >> 1);
    // Node 2i + 1 of the array is parent i.
    let node = ((leaf >> level) << (level + 1)) + (half << 1) - 1;
    u32::try_from(node >> 1).unwrap_or(u32::MAX)
}

fn has_unmerged(node: &ParentNode) -> Result<bool, MlsError> {
    // struct { HPKEPublicKey encryption_key; opaque parent_hash<V>; uint32 unmerged_leaves<V>; } ParentNode;
    const KIND: &str = "parent node";
    let bytes = inspect::encode(node)?;
    let (_, rest) = parse::vector(&bytes, KIND)?;
    let (_, rest) = parse::vector(rest, KIND)?;
    Ok(!parse::vector(rest, KIND)?.0.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_an_order_that_spreads() {
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(|leaf| warm_rank(leaf, 8)), [0, 4, 2, 6, 1, 5, 3, 7]);
        for leaves in [1, 2, 3, 5, 100, 2_000] {
            let mut ranks: Vec<u32> = (0..leaves).map(|leaf| warm_rank(leaf, leaves)).collect();
            ranks.sort_unstable();
            ranks.dedup();
            assert_eq!(ranks.len(), leaves as usize);
            assert!(ranks.iter().all(|rank| *rank < leaves.next_power_of_two()));
        }
        assert_eq!((warm_rank(0, 0), warm_rank(0, 1), warm_rank(u32::MAX, u32::MAX)), (0, 0, u32::MAX));
    }

    #[test]
    fn parents_are_those_of_the_rfc() {
        // The tree of eight leaves in RFC 9420 appendix C: nodes 1, 3, 7 above leaf 0 and 13, 11, 7 above leaf 7.
        assert_eq!([1, 2, 3].map(|level| parent_of(0, level) * 2 + 1), [1, 3, 7]);
        assert_eq!([1, 2, 3].map(|level| parent_of(7, level) * 2 + 1), [13, 11, 7]);
        assert_eq!([1, 2, 3].map(|level| parent_of(3, level) * 2 + 1), [5, 3, 7]);
        assert_eq!([1, 2, 8, 9].map(depth), [0, 1, 3, 4]);
    }
}
