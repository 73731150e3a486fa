//! Files that leave the device, as somebody would read and attack them who has only `docs/reference/files.md`: what is
//! computed here is computed from that page, not by the code under test.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use qpc_crypto::{
    AccountKey, DeviceCertificate, DeviceKey, KdfError, KsfParams,
    archive::{About, ArchiveError, Damage, Kind, Lock, MAX_RECORD, Reader, Summary, Writer, prove, verify_proof},
    sha256,
};
use qpc_wire::GroupId;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

const PASSPHRASE: &[u8] = b"tell nobody";
const GROUP: GroupId = GroupId([7; 16]);
/// Lengths of heads.
const TRANSCRIPT_HEAD: usize = 10 + 36 + 32 + 137 + 72 + 32;
const BACKUP_HEAD: usize = 10 + 36 + 72 + 32;

struct Author {
    device: DeviceKey,
    certificate: DeviceCertificate,
}

fn author(rng: &mut StdRng) -> Author {
    let (account, device) = (AccountKey::generate(rng), DeviceKey::generate(rng));
    let certificate = DeviceCertificate::issue(&account, &device.public(), 1_700_000_000);
    Author { device, certificate }
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

fn write(kind: Kind, author: &Author, records: &[Vec<u8>]) -> (Vec<u8>, Summary) {
    let (mut rng, mut file) = (rng(), Vec::new());
    let lock = Lock::new(&mut rng, PASSPHRASE, KsfParams::FLOOR).unwrap();
    let about = match kind {
        Kind::Backup => About::Backup,
        _ => About::Transcript { conversation: GROUP, certificate: &author.certificate },
    };
    let mut writer = Writer::new(&mut file, &mut rng, &lock, &about, 5).unwrap();
    records.iter().for_each(|record| writer.push(record).unwrap());
    let summary = writer.finish(&author.device).unwrap();
    assert_eq!(summary.bytes, file.len() as u64);
    (file, summary)
}

fn read(kind: Kind, file: &[u8]) -> Result<Vec<Vec<u8>>, ArchiveError> {
    let mut opened = Reader::new(file, kind)?.unlock(PASSPHRASE)?;
    let mut records = Vec::new();
    while let Some(record) = opened.next_record()? {
        records.push(record.to_vec());
    }
    Ok(records)
}

fn verify(file: &[u8]) -> Result<Summary, ArchiveError> {
    Reader::new(file, Kind::Transcript)?.verify()
}

fn some_records(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| format!("record {n}").repeat(1 + n % 5 * 20).into_bytes()).collect()
}

/// Where the parts of a file begin, head first and end last, and the length of the file.
fn parts(file: &[u8], head: usize) -> Vec<usize> {
    let (mut starts, mut at) = (vec![0, head], head);
    loop {
        let len = u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        if len == u32::MAX {
            return starts;
        }
        at += 4 + 32 + len as usize + 32;
        starts.push(at);
    }
}

/// The error must name the part that contains `byte`, as the first that is not whole.
fn assert_located(error: ArchiveError, starts: &[usize], byte: usize, what: &str) {
    let part = starts.iter().rposition(|start| *start <= byte).unwrap();
    match error {
        ArchiveError::Damaged { records, offset, .. } => {
            assert_eq!(offset, starts[part] as u64, "{what}: {error}");
            assert_eq!(records, part.saturating_sub(1) as u64, "{what}: {error}");
        }
        // Its first ten bytes say what the file is.
        ArchiveError::Unknown | ArchiveError::Kind(_) | ArchiveError::Version { .. } => {
            assert!(byte < 10, "{what}: {error}");
        }
        other => panic!("{what}: {other}"),
    }
}

#[test]
fn what_was_written_is_read() {
    let author = author(&mut rng());
    for kind in [Kind::Transcript, Kind::Backup] {
        for records in [vec![], vec![vec![]], some_records(40), vec![vec![3; MAX_RECORD], b"end".to_vec()]] {
            let (file, summary) = write(kind, &author, &records);
            assert_eq!(summary.records, records.len() as u64);
            assert_eq!(read(kind, &file).unwrap(), records);
            assert_eq!(Reader::new(file.as_slice(), kind).unwrap().verify().unwrap(), summary);
        }
    }
    let mut rng = rng();
    let lock = Lock::new(&mut rng, PASSPHRASE, KsfParams::FLOOR).unwrap();
    let mut writer = Writer::new(Vec::new(), &mut rng, &lock, &About::Backup, 5).unwrap();
    assert!(matches!(writer.push(&vec![0; MAX_RECORD + 1]), Err(ArchiveError::TooLong(_))));
}

#[test]
fn a_transcript_says_whose_it_is_and_a_backup_does_not() {
    let author = author(&mut rng());
    let (file, _) = write(Kind::Transcript, &author, &some_records(1));
    let reader = Reader::new(file.as_slice(), Kind::Transcript).unwrap();
    let (conversation, certificate) = reader.head().signed_by.clone().unwrap();
    assert_eq!(certificate, author.certificate);
    assert_eq!(conversation, sha256(&[b"qpc archive conversation v1", GROUP.as_ref()]));
    assert_eq!(reader.head().made_at_ms, 5);

    let (file, _) = write(Kind::Backup, &author, &some_records(1));
    for key in [author.certificate.account_key(), author.certificate.device_key()] {
        assert!(!file.windows(16).any(|window| window == &key[..16]));
    }
    let both = [Kind::Transcript, Kind::Backup].map(|kind| write(kind, &author, &[vec![b'x'; 99]]).0);
    assert!(both.iter().all(|file| !file.windows(8).any(|window| window == [b'x'; 8])));
}

#[test]
fn a_change_of_any_byte_is_found_and_located() {
    let author = author(&mut rng());
    for (kind, head) in [(Kind::Transcript, TRANSCRIPT_HEAD), (Kind::Backup, BACKUP_HEAD)] {
        let (file, _) = write(kind, &author, &some_records(4));
        let starts = parts(&file, head);
        let end = *starts.last().unwrap();
        for byte in 0..file.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bad = file.clone();
                bad[byte] ^= change;
                let result = Reader::new(bad.as_slice(), kind).and_then(Reader::verify);
                // The end of a backup is proved by the passphrase.
                if kind == Kind::Backup && byte >= end + 4 + 8 + 32 {
                    result.unwrap();
                    continue;
                }
                assert_located(result.unwrap_err(), &starts, byte, &format!("{kind:?} byte {byte}"));
            }
        }
        if kind == Kind::Backup {
            let mut bad = file.clone();
            bad[file.len() - 1] ^= 1;
            assert_located(read(kind, &bad).unwrap_err(), &starts, end, "tag of a backup");
        }
    }
}

#[test]
fn a_cut_at_any_length_is_found_and_located() {
    let author = author(&mut rng());
    for (kind, head) in [(Kind::Transcript, TRANSCRIPT_HEAD), (Kind::Backup, BACKUP_HEAD)] {
        let (file, _) = write(kind, &author, &some_records(4));
        let starts = parts(&file, head);
        for len in 0..file.len() {
            let error = Reader::new(&file[..len], kind).and_then(Reader::verify).unwrap_err();
            assert!(matches!(error, ArchiveError::Damaged { what: Damage::Cut, .. }), "{len}: {error}");
            assert_located(error, &starts, len, &format!("cut at {len}"));
        }
        let longer = [file.as_slice(), &[0]].concat();
        let error = Reader::new(longer.as_slice(), kind).and_then(Reader::verify).unwrap_err();
        let behind = file.len() as u64;
        assert!(
            matches!(error, ArchiveError::Damaged { records: 4, offset, what: Damage::Tail } if offset == behind),
            "{error}"
        );
    }
}

#[test]
fn records_that_are_moved_are_found_and_located() {
    let author = author(&mut rng());
    let (file, _) = write(Kind::Transcript, &author, &some_records(6));
    let starts = parts(&file, TRANSCRIPT_HEAD);
    let part = |n: usize| &file[starts[n]..starts.get(n + 1).copied().unwrap_or(file.len())];
    let (other, _) = write(Kind::Transcript, &author, &[b"of another file".to_vec()]);
    let foreign = &other[TRANSCRIPT_HEAD..parts(&other, TRANSCRIPT_HEAD)[2]];
    let with = |order: &[usize]| order.iter().flat_map(|n| part(*n).to_vec()).collect::<Vec<u8>>();
    // Parts in their order: 0 is the head, 1 to 6 are records, 7 is the end. Then the first record that is not whole.
    let cases = [
        ("swapped", with(&[0, 1, 3, 2, 4, 5, 6, 7]), 1),
        ("the first swapped with the last", with(&[0, 6, 2, 3, 4, 5, 1, 7]), 0),
        ("doubled", with(&[0, 1, 2, 3, 3, 4, 5, 6, 7]), 3),
        ("the last doubled", with(&[0, 1, 2, 3, 4, 5, 6, 6, 7]), 6),
        ("the first removed", with(&[0, 2, 3, 4, 5, 6, 7]), 0),
        ("one removed", with(&[0, 1, 2, 4, 5, 6, 7]), 2),
        ("the last removed", with(&[0, 1, 2, 3, 4, 5, 7]), 5),
        ("all removed", with(&[0, 7]), 0),
        ("one of another file added", [&with(&[0, 1, 2, 3, 4, 5, 6]), foreign, part(7)].concat(), 6),
        ("one of another file in the place of one", [&with(&[0, 1, 2]), foreign, &with(&[4, 5, 6, 7])].concat(), 2),
        ("added behind the end", [&with(&[0, 1, 2, 3, 4, 5, 6, 7]), part(6)].concat(), 6),
        ("ended twice", with(&[0, 1, 2, 3, 4, 5, 6, 7, 7]), 6),
    ];
    for (what, bad, expected) in cases {
        match verify(&bad).unwrap_err() {
            ArchiveError::Damaged { records, offset, what: damage } => {
                assert_eq!(records, expected, "{what}: {damage}");
                let at = if damage == Damage::Tail { file.len() } else { starts[expected as usize + 1] };
                assert_eq!(offset, at as u64, "{what}: {damage}");
            }
            other => panic!("{what}: {other}"),
        }
    }
}

#[test]
fn damage_in_a_large_file_is_located() {
    let author = author(&mut rng());
    let (file, _) = write(Kind::Transcript, &author, &some_records(3_000));
    let starts = parts(&file, TRANSCRIPT_HEAD);
    let mut rng = rng();
    for _ in 0..40 {
        let mut bad = file.clone();
        let byte = rng.gen_range(0..file.len());
        bad[byte] ^= 1 << rng.gen_range(0..8);
        assert_located(verify(&bad).unwrap_err(), &starts, byte, &format!("byte {byte}"));
    }
}

/// Makes the chain, the count and the root of a file anew, as anybody can; leaves the signature.
fn forge(head: &[u8], records: &[&[u8]], signature: &[u8]) -> Vec<u8> {
    let mut file = head.to_vec();
    let mut chain: [u8; 32] = head[head.len() - 32..].try_into().unwrap();
    let mut leaves = Vec::new();
    for record in records {
        let leaf = sha256(&[&[0], record]);
        chain = sha256(&[b"qpc archive chain v1", &chain, &leaf]);
        file.extend_from_slice(&(record.len() as u32 - 32).to_be_bytes());
        file.extend_from_slice(record);
        file.extend_from_slice(&chain);
        leaves.push(leaf);
    }
    file.extend_from_slice(&[0xff; 4]);
    file.extend_from_slice(&(records.len() as u64).to_be_bytes());
    file.extend_from_slice(&root(&leaves));
    file.extend_from_slice(signature);
    file
}

/// RFC 6962 section 2.1, as it is written there.
fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let left = (leaves.len() as u64).next_power_of_two() as usize / 2;
            sha256(&[&[1], &root(&leaves[..left]), &root(&leaves[left..])])
        }
    }
}

fn taken_apart(file: &[u8]) -> (&[u8], Vec<&[u8]>, &[u8]) {
    let starts = parts(file, TRANSCRIPT_HEAD);
    let records = starts[1..].windows(2).map(|part| &file[part[0] + 4..part[1] - 32]).collect();
    (&file[..TRANSCRIPT_HEAD], records, &file[file.len() - 64..])
}

#[test]
fn the_page_describes_the_file() {
    let author = author(&mut rng());
    let (file, summary) = write(Kind::Transcript, &author, &some_records(11));
    let (head, records, signature) = taken_apart(&file);
    assert_eq!(forge(head, &records, signature), file, "a stranger computes the same bytes");
    assert_eq!(sha256(&[b"qpc archive head v1", &head[..head.len() - 32]]), head[head.len() - 32..]);
    let leaves: Vec<_> = records.iter().map(|record| sha256(&[&[0], record])).collect();
    assert_eq!(summary.root, root(&leaves));
    let said =
        [b"qpc transcript v1".as_slice(), &head[head.len() - 32..], &11_u64.to_be_bytes(), &summary.root].concat();
    qpc_crypto::verify(&author.device.public(), &said, signature).unwrap();
}

#[test]
fn who_makes_the_chain_anew_is_found_by_the_signature_and_located_by_the_passphrase() {
    let author = author(&mut rng());
    let (file, _) = write(Kind::Transcript, &author, &some_records(9));
    let (head, records, signature) = taken_apart(&file);
    let mut changed = records[4].to_vec();
    changed[50] ^= 1;
    let cases: [(&str, Vec<&[u8]>, u64); 4] = [
        ("changed", [&records[..4], &[&changed], &records[5..]].concat(), 4),
        ("swapped", [&records[..2], &[records[3], records[2]], &records[4..]].concat(), 2),
        ("removed", [&records[..6], &records[7..]].concat(), 6),
        ("doubled", [&records[..6], &records[5..]].concat(), 6),
    ];
    for (what, records, first) in cases {
        let forged = forge(head, &records, signature);
        let starts = parts(&forged, TRANSCRIPT_HEAD);
        let end = *starts.last().unwrap() as u64;
        match verify(&forged).unwrap_err() {
            ArchiveError::Damaged { offset, what: Damage::Proof, .. } => assert_eq!(offset, end, "{what}"),
            other => panic!("{what}: {other}"),
        }
        match read(Kind::Transcript, &forged).unwrap_err() {
            ArchiveError::Damaged { records, offset, what: Damage::Sealed } => {
                assert_eq!((records, offset), (first, starts[first as usize + 1] as u64), "{what}");
            }
            other => panic!("{what}: {other}"),
        }
    }
    // Whoever signs it as somebody else's cannot have it opened as this.
    let mut rng = StdRng::seed_from_u64(8);
    let thief = self::author(&mut rng);
    let mut head = head[..head.len() - 32].to_vec();
    head[10 + 36 + 32..][..137].copy_from_slice(&thief.certificate.to_bytes());
    let hash = sha256(&[b"qpc archive head v1", &head]);
    head.extend_from_slice(&hash);
    let unsigned = forge(&head, &records, &[0; 64]);
    let top = &unsigned[unsigned.len() - 96..unsigned.len() - 64];
    let said = [b"qpc transcript v1".as_slice(), &hash, &9_u64.to_be_bytes(), top].concat();
    let stolen = forge(&head, &records, &thief.device.sign(&said));
    verify(&stolen).unwrap();
    assert!(matches!(read(Kind::Transcript, &stolen), Err(ArchiveError::WrongPassphrase)));
}

#[test]
fn passphrase_cost_and_version_are_told() {
    let author = author(&mut rng());
    let (file, _) = write(Kind::Backup, &author, &some_records(2));
    let unlock = |file: &[u8], passphrase: &[u8]| {
        Reader::new(file, Kind::Backup).and_then(|reader| reader.unlock(passphrase)).map(drop).unwrap_err()
    };
    assert!(matches!(unlock(&file, b"tell everybody"), ArchiveError::WrongPassphrase));
    let with_cost = |at: usize, value: u32| {
        let mut bad = file.clone();
        bad[34 + at..38 + at].copy_from_slice(&value.to_be_bytes());
        let hash = sha256(&[b"qpc archive head v1", &bad[..BACKUP_HEAD - 32]]);
        bad[BACKUP_HEAD - 32..BACKUP_HEAD].copy_from_slice(&hash);
        unlock(&bad, PASSPHRASE)
    };
    assert!(matches!(with_cost(0, 1 << 10), ArchiveError::Kdf(KdfError::BelowFloor(_))));
    assert!(matches!(with_cost(0, u32::MAX), ArchiveError::Kdf(KdfError::AboveCeiling(_))));
    assert!(matches!(with_cost(4, 1_000_000), ArchiveError::Kdf(KdfError::AboveCeiling(_))));
    // A cost within the limits gives another key.
    assert!(matches!(with_cost(4, 3), ArchiveError::WrongPassphrase));
    for version in [0, 2] {
        let mut other = file.clone();
        other[9] = version;
        let error = Reader::new(other.as_slice(), Kind::Backup).map(drop).unwrap_err();
        assert!(matches!(error, ArchiveError::Version { found, known: 1 } if found == version));
    }
    let asked = Reader::new(file.as_slice(), Kind::Transcript).map(drop).unwrap_err();
    assert!(matches!(asked, ArchiveError::Kind(Some(Kind::Backup))));
    assert!(matches!(Reader::new(&b"something else"[..], Kind::Backup), Err(ArchiveError::Unknown)));
}

#[test]
fn one_record_is_proved_without_the_others() {
    let author = author(&mut rng());
    let records = some_records(7);
    let (file, summary) = write(Kind::Transcript, &author, &records);
    for (index, record) in (0..).zip(&records) {
        let proof = prove(file.as_slice(), PASSPHRASE, index).unwrap();
        let proven = verify_proof(&proof).unwrap();
        assert_eq!((proven.index, proven.records), (index, summary.records));
        assert_eq!(*proven.record, *record);
        assert_eq!(proven.head.signed_by.unwrap().1, author.certificate);
        // Nothing else of the file opens with what it holds.
        for other in records.iter().filter(|other| *other != record) {
            assert!(!proof.windows(other.len()).any(|window| window == other));
        }
    }
    assert!(matches!(prove(file.as_slice(), PASSPHRASE, 7), Err(ArchiveError::NoRecord(7))));
    assert!(matches!(prove(file.as_slice(), b"wrong", 3), Err(ArchiveError::WrongPassphrase)));
    let proof = prove(file.as_slice(), PASSPHRASE, 3).unwrap();
    for byte in 0..proof.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bad = proof.to_vec();
            bad[byte] ^= change;
            assert!(verify_proof(&bad).is_err(), "byte {byte}");
        }
        assert!(verify_proof(&proof[..byte]).is_err(), "cut at {byte}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_comes_is_refused_in_peace(bytes in prop::collection::vec(any::<u8>(), 0..900), whole_head: bool) {
        let mut file = Vec::new();
        if whole_head {
            let author = author(&mut rng());
            let (written, _) = write(Kind::Transcript, &author, &[]);
            file.extend_from_slice(&written[..TRANSCRIPT_HEAD]);
        }
        file.extend_from_slice(&bytes);
        prop_assert!(verify(&file).is_err());
        prop_assert!(verify_proof(&file).is_err());
    }
}
