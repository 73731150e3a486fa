//! Names of files from others, and what kind of file a name tells of.

use std::path::{Path, PathBuf};

use crate::Error;

/// Bytes of a name; file systems take 255.
const MAX_NAME: usize = 200;
/// What a file is called that has no name.
const NAMELESS: &str = "file";
/// What a file is of which nothing is known.
const UNKNOWN: &str = "application/octet-stream";
/// Files of the same name in one folder.
const MAX_SAME: u32 = 1_000;
/// Names that are devices on some systems, with any ending.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// A name that is only that: no folder, nothing that a terminal obeys or that shows something else than it is, not hidden.
pub(super) fn harmless(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect();
    let kept = kept.replace(['<', '>', ':', '"', '|', '?', '*'], "_");
    let kept = kept.trim_start_matches(|c: char| c == '.' || c.is_whitespace());
    let kept = shorten(kept).trim_end_matches(|c: char| c == '.' || c.is_whitespace()).to_owned();
    let stem = kept.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_device = DEVICES.contains(&&*stem)
        || (stem.len() == 4
            && (stem.starts_with("com") || stem.starts_with("lpt"))
            && stem.ends_with(|c: char| c.is_ascii_digit()));
    match kept {
        kept if kept.is_empty() => NAMELESS.to_owned(),
        kept if is_device => format!("_{kept}"),
        kept => kept,
    }
}

/// Marks that turn the direction of a text or take no room, so that an ending could be hidden.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

/// At most [`MAX_NAME`] bytes, with the ending if it is a short one.
fn shorten(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let ending = name.rfind('.').map(|dot| &name[dot..]).filter(|ending| ending.len() <= 16).unwrap_or_default();
    let cut = (0..=MAX_NAME - ending.len()).rev().find(|at| name.is_char_boundary(*at)).unwrap_or_default();
    format!("{}{ending}", &name[..cut])
}

/// The type of a file by its name.
pub(super) fn guess_type(path: &Path) -> String {
    mime_guess::from_path(path).first_raw().unwrap_or(UNKNOWN).to_owned()
}

/// The type that somebody else names, if it has the form of one.
pub(super) fn media_type_of(said: &str) -> String {
    let fits = |part: &str| {
        !part.is_empty()
            && part.len() <= 127
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    match said.split_once('/') {
        Some((kind, rest)) if fits(kind) && fits(rest) => said.to_ascii_lowercase(),
        _ => UNKNOWN.to_owned(),
    }
}

/// Where in `folder` a file of this name can go: there, or with a number.
pub(super) fn free(folder: &Path, name: &str) -> Result<PathBuf, Error> {
    let (stem, ending) = match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    };
    let first = folder.join(name);
    let others = (2..=MAX_SAME).map(|n| folder.join(format!("{stem} ({n}){ending}")));
    let mut places = std::iter::once(first.clone()).chain(others);
    // A link that leads nowhere is something, too.
    places.find(|place| place.symlink_metadata().is_err()).ok_or(Error::FileExists(first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_lose_what_is_dangerous_and_keep_the_rest() {
        for (said, kept) in [
            ("photo.jpg", "photo.jpg"),
            ("Ein schöner Tag – 日本.png", "Ein schöner Tag – 日本.png"),
            ("../../etc/passwd", "passwd"),
            ("/etc/passwd", "passwd"),
            (r"C:\Windows\system.ini", "system.ini"),
            ("..", "file"),
            (".", "file"),
            ("", "file"),
            ("a/", "file"),
            (".bashrc", "bashrc"),
            ("a\u{1b}[2Jb\n.txt", "a[2Jb.txt"),
            ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
            ("a:b?.txt. ", "a_b_.txt"),
            ("CON.txt", "_CON.txt"),
            ("com1", "_com1"),
            ("console.txt", "console.txt"),
        ] {
            assert_eq!(harmless(said), kept, "{said:?}");
        }
        let long = harmless(&format!("{}.jpeg", "ä".repeat(300)));
        assert!(long.len() <= MAX_NAME && long.ends_with("ä.jpeg"));
    }

    #[test]
    fn types_have_a_form() {
        assert_eq!(guess_type(Path::new("a/b.PNG")), "image/png");
        assert_eq!(guess_type(Path::new("b")), UNKNOWN);
        assert_eq!(media_type_of("Image/SVG+xml"), "image/svg+xml");
        for bad in ["", "image", "a/b/c", "a/ b", "a/\u{1b}", &format!("a/{}", "b".repeat(128))] {
            assert_eq!(media_type_of(bad), UNKNOWN, "{bad:?}");
        }
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(free(folder.path(), "a.tar.gz").unwrap(), at("a.tar.gz"));
        for taken in ["a.tar.gz", "a.tar (2).gz", "plain"] {
            std::fs::write(at(taken), "x").unwrap();
        }
        assert_eq!(free(folder.path(), "a.tar.gz").unwrap(), at("a.tar (3).gz"));
        assert_eq!(free(folder.path(), "plain").unwrap(), at("plain (2)"));
    }

    proptest! {
        #[test]
        fn every_name_is_one_component_that_is_not_hidden(said in "(?s).{0,300}") {
            let name = harmless(&said);
            prop_assert!(!name.is_empty() && name.len() <= MAX_NAME + 1);
            prop_assert!(!name.starts_with('.') && !name.contains(['/', '\\', '\0']));
            prop_assert!(!name.chars().any(|c| c.is_control() || is_invisible(c)));
            let components: Vec<_> = Path::new(&name).components().collect();
            prop_assert!(matches!(components[..], [std::path::Component::Normal(_)]));
        }
    }
}
