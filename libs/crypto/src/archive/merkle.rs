//! Merkle trees as of RFC 6962 section 2.1, over records that come one after the other. Memory is that of the path to the
//! last leaf: logarithmic.

use crate::identity::sha256;

type Hash = [u8; 32];

/// The hash of a leaf: SHA-256 of 0x00 and its parts.
pub fn leaf(parts: [&[u8]; 2]) -> Hash {
    sha256(&[&[0], parts[0], parts[1]])
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// A full tree over leaves that follow each other.
struct Peak {
    level: u32,
    hash: Hash,
    /// Contains the leaf whose path is gathered.
    watched: bool,
}

/// A tree that grows.
#[derive(Default)]
pub struct Tree {
    /// The largest first, of falling levels.
    peaks: Vec<Peak>,
    leaves: u64,
    watch: Option<u64>,
    path: Vec<Hash>,
}

impl Tree {
    /// A tree that gathers the path of a leaf.
    pub fn watching(index: u64) -> Self {
        Self { watch: Some(index), ..Self::default() }
    }

    /// Adds the hash of a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut peak = Peak { level: 0, hash: leaf, watched: self.watch == Some(self.leaves) };
        self.leaves += 1;
        while let Some(left) = self.peaks.pop_if(|left| left.level == peak.level) {
            peak = self.join(left, peak);
        }
        self.peaks.push(peak);
    }

    /// The root; of no leaves the hash of nothing.
    pub fn root(self) -> Hash {
        self.finish().0
    }

    /// The root, and from the leaf upwards what is beside the way from the watched leaf to it.
    pub fn finish(mut self) -> (Hash, Vec<Hash>) {
        let Some(mut peak) = self.peaks.pop() else { return (sha256(&[]), Vec::new()) };
        while let Some(left) = self.peaks.pop() {
            peak = self.join(left, peak);
        }
        (peak.hash, self.path)
    }

    fn join(&mut self, left: Peak, right: Peak) -> Peak {
        if left.watched {
            self.path.push(right.hash);
        }
        if right.watched {
            self.path.push(left.hash);
        }
        let (hash, watched) = (node(&left.hash, &right.hash), left.watched || right.watched);
        Peak { level: left.level + 1, hash, watched }
    }
}

/// The root of the tree of `leaves` leaves in which `leaf` is number `index`, if `path` is its path (RFC 9162 section
/// 2.1.3.2).
pub fn root_of(leaf: Hash, index: u64, leaves: u64, path: &[Hash]) -> Option<Hash> {
    let (mut at, mut last, mut hash) = (index, leaves.checked_sub(1)?, leaf);
    if at > last {
        return None;
    }
    for beside in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node(beside, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, beside);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves() -> Vec<Hash> {
        let inputs =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        inputs.iter().map(|input| leaf([&hex::decode(input).unwrap(), b""])).collect()
    }

    fn root(leaves: &[Hash]) -> Hash {
        let mut tree = Tree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        tree.root()
    }

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        // The test data of github.com/google/certificate-transparency, merkle_tree_test.cc.
        let expected = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (count, expected) in expected.iter().enumerate() {
            assert_eq!(hex::encode(root(&leaves()[..count])), *expected, "{count} leaves");
        }
    }

    #[test]
    fn a_path_leads_from_its_leaf_alone_to_the_root() {
        let leaf_of = |n: u64| leaf([&n.to_be_bytes(), b""]);
        for size in 1..=70 {
            let all: Vec<Hash> = (0..size).map(leaf_of).collect();
            for index in 0..size {
                let mut tree = Tree::watching(index);
                all.iter().for_each(|leaf| tree.push(*leaf));
                let (top, path) = tree.finish();
                assert_eq!(top, root(&all));
                assert_eq!(root_of(leaf_of(index), index, size, &path), Some(top), "{index} of {size}");
                assert_ne!(root_of(leaf_of(index + 1), index, size, &path), Some(top));
                assert_eq!(root_of(leaf_of(index), size, size, &path), None);
                if let Some((_, shorter)) = path.split_last() {
                    assert_ne!(root_of(leaf_of(index), index, size, shorter), Some(top));
                }
                let longer = [path.as_slice(), &[[0; 32]]].concat();
                assert_eq!(root_of(leaf_of(index), index, size, &longer), None);
            }
        }
    }
}
