//! Images: what is decoded, and how thumbnails are made of them.

use std::io::Cursor;

use bytes::Bytes;
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    codecs::jpeg::JpegEncoder, imageops::FilterType,
};
use ruma::media::Method;

use crate::{Error, ThumbnailRequest};

/// The sizes of cropped thumbnails; a request gets the next larger one.
const CROP_SIZES: [(u32, u32); 5] = [(32, 32), (96, 96), (160, 160), (320, 320), (640, 640)];
/// The sizes of scaled thumbnails.
const SCALE_SIZES: [(u32, u32); 3] = [(320, 240), (640, 480), (800, 600)];
/// The largest width and height that are decoded.
const MAX_PIXELS: u32 = 16_384;
/// The most memory for a decoded image.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// JPEG quality, of 100.
const JPEG_QUALITY: u8 = 80;

/// The size of a thumbnail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThumbnailSize {
    /// Exactly this width and height, in pixels; edges are cut off.
    Cropped(u32, u32),
    /// At most this width and height, in pixels.
    Scaled(u32, u32),
    /// No thumbnail size is large enough: serve the original.
    Original,
}

/// The result of thumbnailing.
#[derive(Clone, Debug)]
pub enum ThumbnailResult {
    /// The encoded thumbnail.
    Image(Bytes),
    /// The image is not larger than its thumbnail would be: serve the original.
    Original,
}

impl ThumbnailSize {
    pub(crate) fn of(request: &ThumbnailRequest) -> Self {
        let fits =
            |(width, height): &&(u32, u32)| *width >= request.width && *height >= request.height;
        let cropped = || {
            CROP_SIZES
                .iter()
                .find(fits)
                .map(|(width, height)| Self::Cropped(*width, *height))
        };
        let scaled = || {
            SCALE_SIZES
                .iter()
                .find(fits)
                .map(|(width, height)| Self::Scaled(*width, *height))
        };
        let found = match request.method {
            Method::Crop => cropped().or_else(scaled),
            _ => scaled(),
        };
        found.unwrap_or(Self::Original)
    }

    /// The names of all thumbnails that an image can have.
    pub(crate) fn names() -> impl Iterator<Item = String> {
        let cropped = CROP_SIZES.map(|(width, height)| Self::Cropped(width, height));
        let scaled = SCALE_SIZES.map(|(width, height)| Self::Scaled(width, height));
        let sizes = cropped.into_iter().chain(scaled);
        sizes.flat_map(|size| [size.name(false), size.name(true)])
    }

    /// The name under which the thumbnail is stored.
    pub(crate) fn name(self, still: bool) -> String {
        let still = if still { "-still" } else { "" };
        match self {
            Self::Cropped(width, height) => format!("{width}x{height}-crop{still}"),
            Self::Scaled(width, height) => format!("{width}x{height}-scale{still}"),
            Self::Original => "original".to_owned(),
        }
    }
}

/// The format of a file, by its first bytes; an error unless it is an image that can be decoded.
pub(crate) fn supported_format(content: &[u8]) -> Result<ImageFormat, Error> {
    let format = image::guess_format(content).map_err(image_error)?;
    if format.reading_enabled() {
        Ok(format)
    } else {
        Err(Error::NoThumbnail)
    }
}

/// Decodes, resizes and encodes; for a blocking thread.
///
/// # Errors
///
/// [`Error::NoThumbnail`] for what is no image of a supported format, [`Error::ImageTooLarge`] for one
/// that takes too much memory.
pub fn create_thumbnail(
    content: &[u8],
    size: ThumbnailSize,
    still: bool,
) -> Result<ThumbnailResult, Error> {
    let format = supported_format(content)?;
    let mut reader = ImageReader::with_format(Cursor::new(content), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_PIXELS);
    limits.max_image_height = Some(MAX_PIXELS);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(image_error)?;
    // The limits apply to the decoder only; its output buffer is bounded here.
    if decoder.total_bytes() > MAX_BYTES {
        return Err(Error::ImageTooLarge);
    }
    let orientation = decoder.orientation().map_err(image_error)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(image_error)?;
    image.apply_orientation(orientation);

    let may_move = !matches!(format, ImageFormat::Jpeg);
    let Some(resized) = resize(&image, size) else {
        return if still && may_move {
            encode(&image, format)
        } else {
            Ok(ThumbnailResult::Original)
        };
    };
    encode(&resized, format)
}

/// The resized image; `None` if it is small enough. Images are never enlarged.
fn resize(image: &DynamicImage, size: ThumbnailSize) -> Option<DynamicImage> {
    let (image_width, image_height) = (image.width(), image.height());
    match size {
        ThumbnailSize::Cropped(width, height) if image_width > width || image_height > height => {
            let (width, height) = (width.min(image_width), height.min(image_height));
            Some(image.resize_to_fill(width, height, FilterType::Triangle))
        }
        ThumbnailSize::Scaled(width, height) if image_width > width || image_height > height => {
            Some(image.resize(width, height, FilterType::Triangle))
        }
        _ => None,
    }
}

/// Encodes as JPEG, or as PNG if the image has an alpha channel or was a PNG: a screenshot or drawing, of which JPEG blurs
/// the edges.
fn encode(image: &DynamicImage, format: ImageFormat) -> Result<ThumbnailResult, Error> {
    let mut bytes = Cursor::new(Vec::new());
    if image.color().has_alpha() || format == ImageFormat::Png {
        image
            .write_to(&mut bytes, ImageFormat::Png)
            .map_err(image_error)?;
    } else {
        let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
        image
            .to_rgb8()
            .write_with_encoder(encoder)
            .map_err(image_error)?;
    }
    Ok(ThumbnailResult::Image(Bytes::from(bytes.into_inner())))
}

fn image_error(error: ImageError) -> Error {
    match error {
        ImageError::Limits(_) => Error::ImageTooLarge,
        _ => Error::NoThumbnail,
    }
}
