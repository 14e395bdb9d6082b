//! Thumbnails, created when first requested.
//!
//! Spec: client-server, "Thumbnails".

use std::{io::Cursor, sync::Arc, time::Duration};

use bytes::Bytes;
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    codecs::jpeg::JpegEncoder, imageops::FilterType,
};
use ruma::{ServerName, media::Method};

use crate::{Download, Error, Media};

/// The sizes of cropped thumbnails; a request gets the next larger one.
const CROP_SIZES: [(u32, u32); 5] = [(32, 32), (96, 96), (160, 160), (320, 320), (640, 640)];
/// The sizes of scaled thumbnails.
const SCALE_SIZES: [(u32, u32); 3] = [(320, 240), (640, 480), (800, 600)];
/// The largest width and height that are decoded.
const MAX_PIXELS: u32 = 16_384;
/// The most memory for a decoded image.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// The largest file that is decoded.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// The first bytes of a file, which tell its format.
const FORMAT_BYTES: u64 = 64;
/// JPEG quality, of 100.
const JPEG_QUALITY: u8 = 80;

/// A thumbnail request.
#[derive(Clone, Debug)]
pub struct ThumbnailRequest {
    /// The minimum width, in pixels.
    pub width: u32,
    /// The minimum height, in pixels.
    pub height: u32,
    /// Whether the image may be cropped.
    pub method: Method,
    /// Whether it may be animated; `None` leaves it to the server.
    pub animated: Option<bool>,
}

/// The size of a thumbnail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ThumbnailSize {
    Cropped(u32, u32),
    Scaled(u32, u32),
    /// No thumbnail size is large enough: serve the original.
    Original,
}

/// The result of thumbnailing.
enum ThumbnailResult {
    Image(Bytes),
    /// The image is not larger than its thumbnail would be: serve the original.
    Original,
}

impl Media {
    /// Opens a thumbnail of an image, or the image itself if it is small enough or no thumbnail size is
    /// large enough.
    #[tracing::instrument(name = "media.thumbnail", skip_all, err(level = "debug"))]
    pub async fn thumbnail(
        &self,
        server_name: &ServerName,
        media_id: &str,
        request: ThumbnailRequest,
        wait: Duration,
    ) -> Result<Download, Error> {
        let size = ThumbnailSize::of(&request);
        let content = self.content(server_name, media_id, wait).await?;
        if content.size == 0 {
            return Err(Error::NoThumbnail);
        }
        if size == ThumbnailSize::Original {
            let head = self.inner().store.read_start(&content.sha256, FORMAT_BYTES);
            supported_format(&head.await?)?;
        } else {
            if content.size > MAX_FILE_BYTES {
                return Err(Error::ImageTooLarge);
            }
            let still = request.animated == Some(false);
            if let ThumbnailResult::Image(bytes) = self
                .get_or_create_thumbnail(&content.sha256, size, still)
                .await?
            {
                let format = image::guess_format(&bytes).map_err(image_error)?;
                return Ok(Download::from_bytes(format.to_mime_type(), bytes));
            }
        }
        self.download(server_name, media_id, Duration::ZERO).await
    }

    /// The stored thumbnail, or a new one.
    async fn get_or_create_thumbnail(
        &self,
        sha256: &[u8],
        size: ThumbnailSize,
        still: bool,
    ) -> Result<ThumbnailResult, Error> {
        let store = &self.inner().store;
        let name = size.name(still);
        if let Some(bytes) = store.thumbnail(sha256, &name).await? {
            return Ok(ThumbnailResult::Image(bytes));
        }
        let permit = Arc::clone(&self.inner().thumbnail_permits).acquire_owned();
        let permit = permit.await.map_err(|_| Error::NoThumbnail)?;
        let content = store.read_all(sha256).await?;
        let work = tokio::task::spawn_blocking(move || {
            // The permit moves along: when the request is cancelled, the work still goes on.
            let _permit = permit;
            create_thumbnail(&content, size, still)
        });
        // A panicking decoder means an unsupported image.
        let result = work.await.map_err(|_| Error::NoThumbnail)??;
        if let ThumbnailResult::Image(bytes) = &result {
            store.store_thumbnail(sha256, &name, bytes.clone()).await?;
        }
        Ok(result)
    }
}

impl ThumbnailSize {
    fn of(request: &ThumbnailRequest) -> Self {
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

    /// The name under which the thumbnail is stored.
    fn name(self, still: bool) -> String {
        let still = if still { "-still" } else { "" };
        match self {
            Self::Cropped(width, height) => format!("{width}x{height}-crop{still}"),
            Self::Scaled(width, height) => format!("{width}x{height}-scale{still}"),
            Self::Original => "original".to_owned(),
        }
    }
}

/// The format of a file, by its first bytes; an error unless it is an image that can be decoded.
fn supported_format(content: &[u8]) -> Result<ImageFormat, Error> {
    let format = image::guess_format(content).map_err(image_error)?;
    if format.reading_enabled() {
        Ok(format)
    } else {
        Err(Error::NoThumbnail)
    }
}

/// Decodes, resizes and encodes; for a blocking thread.
fn create_thumbnail(
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
            encode(&image)
        } else {
            Ok(ThumbnailResult::Original)
        };
    };
    encode(&resized)
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

/// Encodes as JPEG, or as PNG if the image has an alpha channel.
fn encode(image: &DynamicImage) -> Result<ThumbnailResult, Error> {
    let mut bytes = Cursor::new(Vec::new());
    if image.color().has_alpha() {
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
