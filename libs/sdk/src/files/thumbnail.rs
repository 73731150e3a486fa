//! Small pictures of pictures, made where the file is sent. Whoever gets the message need not open the file to see them.

use std::{
    fs::File,
    io::{BufReader, Cursor},
    path::Path,
};

use bytes::Bytes;
use image::{
    DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Limits,
    codecs::jpeg::JpegEncoder,
    error::{LimitError, LimitErrorKind},
    metadata::Orientation,
};

/// Bytes of a picture that goes along with a message.
pub(super) const MAX_BYTES: usize = 24 << 10;
/// Pixels of a side, and what is tried when the result is too large.
const SIDES: [u32; 4] = [320, 224, 128, 64];
/// Of JPEG, out of 100.
const QUALITY: u8 = 70;
/// Sides of a picture that is read, pixels, and memory that it may take, bytes.
const MAX_SIDE: u32 = 16_384;
const MAX_MEMORY: u64 = 256 << 20;

/// A picture of the file, if it is one that can be read. Blocks while it computes.
pub(super) fn of(path: &Path) -> Bytes {
    match read(path) {
        Ok(image) => SIDES.iter().find_map(|side| encode(&image, *side)).unwrap_or_default(),
        Err(error) => {
            tracing::debug!(%error, "no picture of the file");
            Bytes::new()
        }
    }
}

/// Turned as it is to be seen.
fn read(path: &Path) -> Result<DynamicImage, ImageError> {
    let file = BufReader::new(File::open(path)?);
    let mut reader = ImageReader::new(file).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    // Seldom checked by the formats themselves: what the pixels take.
    if decoder.total_bytes() > MAX_MEMORY {
        return Err(ImageError::Limits(LimitError::from_kind(LimitErrorKind::InsufficientMemory)));
    }
    let mut image = shrink(DynamicImage::from_decoder(decoder)?, SIDES[0]);
    image.apply_orientation(orientation);
    Ok(image)
}

/// At most so many pixels a side; never larger than it was.
fn shrink(image: DynamicImage, side: u32) -> DynamicImage {
    if image.width().max(image.height()) > side { image.thumbnail(side, side) } else { image }
}

/// PNG where something shines through, else JPEG; none if it is too large.
fn encode(image: &DynamicImage, side: u32) -> Option<Bytes> {
    let image = shrink(image.clone(), side);
    let mut out = Cursor::new(Vec::new());
    let written = if image.color().has_alpha() {
        DynamicImage::from(image.to_rgba8()).write_to(&mut out, ImageFormat::Png)
    } else {
        image.to_rgb8().write_with_encoder(JpegEncoder::new_with_quality(&mut out, QUALITY))
    };
    written.ok()?;
    Some(Bytes::from(out.into_inner())).filter(|bytes| bytes.len() <= MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage, Rgba, RgbaImage};

    use super::*;

    /// Noise, which no format makes small.
    fn noise(x: u32, y: u32) -> u8 {
        (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503).rotate_left(x % 31)).to_le_bytes()[1]
    }

    fn saved(image: DynamicImage, name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        image.save(&path).unwrap();
        (folder, path)
    }

    fn size(bytes: &[u8]) -> (u32, u32) {
        let image = image::load_from_memory(bytes).unwrap();
        (image.width(), image.height())
    }

    #[test]
    fn pictures_become_small_ones() {
        let photo = RgbImage::from_fn(1200, 800, |x, y| Rgb([(x / 5) as u8, (y / 4) as u8, 90]));
        let (_folder, path) = saved(photo.into(), "photo.jpg");
        let small = of(&path);
        assert_eq!((size(&small), image::guess_format(&small).unwrap()), ((320, 213), ImageFormat::Jpeg));
        assert!(small.len() <= MAX_BYTES);

        let glass = RgbaImage::from_fn(100, 50, |x, _| Rgba([200, 0, 0, x as u8]));
        let (_folder, path) = saved(glass.into(), "glass.png");
        let small = of(&path);
        assert_eq!((size(&small), image::guess_format(&small).unwrap()), ((100, 50), ImageFormat::Png));
    }

    #[test]
    fn what_does_not_get_small_gets_smaller() {
        let rough = RgbaImage::from_fn(700, 700, |x, y| Rgba([noise(x, y), noise(y, x), noise(x + y, x), noise(x, x)]));
        let (_folder, path) = saved(rough.into(), "rough.png");
        let small = of(&path);
        assert!(!small.is_empty() && small.len() <= MAX_BYTES && size(&small).0 < 320);
    }

    #[test]
    fn what_is_no_picture_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not.png");
        std::fs::write(&path, b"\x89PNG\r\n\x1a\nand nothing of the kind").unwrap();
        assert!(of(&path).is_empty() && of(folder.path()).is_empty() && of(&folder.path().join("gone")).is_empty());
        // Small as a file, and too large for memory.
        let (_folder, path) = saved(DynamicImage::new_luma8(20_000, 10), "wide.png");
        assert!(of(&path).is_empty());
    }
}
