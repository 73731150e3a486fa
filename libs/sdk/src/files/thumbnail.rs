//! Small pictures of pictures, made where the file is sent. Whoever gets the message need not open the file to see them.

use std::{
    fmt,
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

use crate::Error;

/// Bytes of a picture that goes along with a message.
pub(super) const MAX_BYTES: usize = 24 << 10;
/// Pixels of a side, and what is tried when the result is too large.
const SIDES: [u32; 4] = [320, 224, 128, 64];
/// Of JPEG, out of 100.
const QUALITY: u8 = 70;
/// Sides of a picture that is read, pixels, and memory that it may take, bytes.
const MAX_SIDE: u32 = 16_384;
const MAX_MEMORY: u64 = 256 << 20;
/// Memory that the small picture of somebody else may take, bytes.
const MAX_SMALL: u64 = 4 << 20;
/// Less opaque than this, a pixel counts as none.
const OPAQUE: u8 = 128;

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

/// A picture as pixels, for who draws it.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels of a row.
    pub width: u32,
    /// Row after row from the top: red, green and blue; none where what is behind it shines through.
    pub pixels: Vec<Option<[u8; 3]>>,
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} × {})", self.width, self.pixels.len() / self.width.max(1) as usize)
    }
}

impl Picture {
    /// Reads the [`thumbnail`](crate::Attachment::thumbnail) of a file, made smaller where it is larger than `width` by `height`
    /// pixels. Blocks while it computes. What is neither PNG nor JPEG, or larger than this library makes them, is
    /// [`Error::DamagedFile`]: it comes from somebody else.
    pub fn of(thumbnail: &[u8], width: u32, height: u32) -> Result<Self, Error> {
        let bad = |_: ImageError| Error::DamagedFile("its small picture cannot be read");
        if thumbnail.len() > MAX_BYTES {
            return Err(Error::DamagedFile("its small picture is too large"));
        }
        let mut reader =
            ImageReader::new(Cursor::new(thumbnail)).with_guessed_format().map_err(|error| bad(error.into()))?;
        if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
            return Err(Error::DamagedFile("its small picture is neither PNG nor JPEG"));
        }
        let mut limits = Limits::default();
        limits.max_image_width = Some(SIDES[0]);
        limits.max_image_height = Some(SIDES[0]);
        limits.max_alloc = Some(MAX_SMALL);
        reader.limits(limits);
        let image = reader.decode().map_err(bad)?;
        let fits = image.width() <= width && image.height() <= height;
        let image = if fits { image } else { image.thumbnail(width.max(1), height.max(1)) }.into_rgba8();
        let pixels = image.pixels().map(|pixel| {
            let [red, green, blue, alpha] = pixel.0;
            (alpha >= OPAQUE).then_some([red, green, blue])
        });
        Ok(Self { width: image.width(), pixels: pixels.collect() })
    }
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

    fn bytes(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.into().write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn a_small_picture_becomes_pixels() {
        let halves = RgbImage::from_fn(64, 32, |x, _| if x < 32 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
        let picture = Picture::of(&bytes(halves, ImageFormat::Png), 8, 8).unwrap();
        assert_eq!((picture.width, picture.pixels.len()), (8, 8 * 4), "its shape stays");
        assert_eq!((picture.pixels[0], picture.pixels[31]), (Some([255, 0, 0]), Some([0, 0, 255])));
        let holes = RgbaImage::from_fn(2, 1, |x, _| Rgba([9, 9, 9, if x == 0 { 0 } else { 255 }]));
        let picture = Picture::of(&bytes(holes, ImageFormat::Png), 8, 8).unwrap();
        assert_eq!((picture.width, &picture.pixels[..]), (2, &[None, Some([9, 9, 9])][..]), "never larger than it was");
        let thin = bytes(RgbImage::new(320, 1), ImageFormat::Jpeg);
        assert_eq!(Picture::of(&thin, 32, 20).unwrap().pixels.len(), 32);
        assert_eq!(Picture::of(&thin, 0, 0).unwrap().pixels.len(), 1);
    }

    #[test]
    fn what_others_say_is_a_small_picture_is_not_believed() {
        let good = bytes(RgbImage::new(30, 20), ImageFormat::Png);
        assert!(Picture::of(&good, 9, 9).is_ok());
        let refused = |bytes: &[u8]| matches!(Picture::of(bytes, 9, 9), Err(Error::DamagedFile(_)));
        assert!(refused(&good[..good.len() / 2]) && refused(&[]) && refused(b"GIF89a") && refused(&[0; 100]));
        assert!(refused(&bytes(RgbImage::new(30, 20), ImageFormat::Gif)), "another format");
        assert!(refused(&bytes(image::GrayImage::new(321, 1), ImageFormat::Png)), "wider than any");
        assert!(refused(&vec![0; MAX_BYTES + 1]));
        // Few bytes that say that they are many: the width stands after the header and the name of the first chunk.
        let mut bomb = good.clone();
        bomb[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        let crc = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&crc.to_be_bytes());
        assert!(refused(&bomb));
        let none = |at: usize| {
            let mut none = good.clone();
            none[at..at + 4].fill(0);
            let crc = crc32(&none[12..29]);
            none[29..33].copy_from_slice(&crc.to_be_bytes());
            none
        };
        assert!(refused(&none(16)) && refused(&none(20)), "no width, no height");
    }

    /// Of a chunk of a PNG (its annex D).
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_said_to_be_a_picture_breaks_it(
            jpeg: bool, at in 0..600_usize, byte: u8, cut in 0..900_usize, width in 0..40_u32, height in 0..40_u32,
        ) {
            let image = RgbImage::from_fn(40, 30, |x, y| Rgb([noise(x, y), noise(y, x), x as u8]));
            let mut bytes = bytes(image, if jpeg { ImageFormat::Jpeg } else { ImageFormat::Png });
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut.max(at + 1));
            if let Ok(picture) = Picture::of(&bytes, width, height) {
                proptest::prop_assert!(picture.width <= width.max(1));
                proptest::prop_assert_eq!(picture.pixels.len() % picture.width as usize, 0);
                proptest::prop_assert!(picture.pixels.len() <= (width.max(1) * height.max(1)) as usize);
            }
        }
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
