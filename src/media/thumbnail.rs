//! Small versions of images, made when they are first asked for.
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

/// The sizes to which images are cropped; what is asked for is served with the next larger one.
const CROPPED: [(u32, u32); 5] = [(32, 32), (96, 96), (160, 160), (320, 320), (640, 640)];
/// The sizes to which images are scaled.
const SCALED: [(u32, u32); 3] = [(320, 240), (640, 480), (800, 600)];
/// Width and height of the largest image that is worked on.
const MAX_PIXELS: u32 = 16_384;
/// Memory for a decoded image.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// The largest file that is worked on.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Of 100; smaller files at no visible loss.
const JPEG_QUALITY: u8 = 80;

/// Which small version of an image is asked for.
#[derive(Clone, Debug)]
pub struct Thumbnail {
    /// The width at least, in pixels.
    pub width: u32,
    /// The height at least, in pixels.
    pub height: u32,
    /// Whether the image may be cropped.
    pub method: Method,
    /// Whether it may move; `None` leaves it to the server.
    pub animated: Option<bool>,
}

/// What a thumbnail is made to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Cropped(u32, u32),
    Scaled(u32, u32),
    /// Nothing that is made is large enough.
    Original,
}

/// What there is to serve.
enum Made {
    Image(Bytes),
    /// The image is not larger than its thumbnail would be.
    Original,
}

impl Media {
    /// Opens a small version of an image, or the image itself when that is small enough or nothing
    /// smaller is large enough.
    #[tracing::instrument(name = "media.thumbnail", skip_all, err(level = "debug"))]
    pub async fn thumbnail(
        &self,
        server_name: &ServerName,
        media_id: &str,
        wanted: Thumbnail,
        wait: Duration,
    ) -> Result<Download, Error> {
        let size = Size::of(&wanted);
        let content = self.content(server_name, media_id, wait).await?;
        if size != Size::Original {
            if content.size > MAX_FILE_BYTES {
                return Err(Error::ImageTooLarge);
            }
            let still = wanted.animated == Some(false);
            if let Made::Image(bytes) = self.make(&content.sha256, size, still).await? {
                let format = image::guess_format(&bytes).map_err(refused)?;
                return Ok(Download::of(format.to_mime_type(), bytes));
            }
        }
        self.download(server_name, media_id, Duration::ZERO).await
    }

    /// The thumbnail that was kept, or one that is made now.
    async fn make(&self, sha256: &[u8], size: Size, still: bool) -> Result<Made, Error> {
        let store = &self.inner().store;
        let name = size.name(still);
        if let Some(bytes) = store.derived(sha256, &name).await? {
            return Ok(Made::Image(bytes));
        }
        let at_work = Arc::clone(&self.inner().at_work).acquire_owned();
        let at_work = at_work.await.map_err(|_| Error::NoThumbnail)?;
        let content = store.read_all(sha256).await?;
        let work = tokio::task::spawn_blocking(move || {
            // It goes along: when the request is cancelled, the work still goes on.
            let _at_work = at_work;
            thumbnail(&content, size, still)
        });
        // A decoder that panics has met an image that it does not understand.
        let made = work.await.map_err(|_| Error::NoThumbnail)??;
        if let Made::Image(bytes) = &made {
            store.keep_derived(sha256, &name, bytes.clone()).await?;
        }
        Ok(made)
    }
}

impl Size {
    fn of(wanted: &Thumbnail) -> Self {
        let fits =
            |(width, height): &&(u32, u32)| *width >= wanted.width && *height >= wanted.height;
        let cropped = || {
            CROPPED
                .iter()
                .find(fits)
                .map(|(width, height)| Self::Cropped(*width, *height))
        };
        let scaled = || {
            SCALED
                .iter()
                .find(fits)
                .map(|(width, height)| Self::Scaled(*width, *height))
        };
        let found = match wanted.method {
            Method::Crop => cropped().or_else(scaled),
            _ => scaled(),
        };
        found.unwrap_or(Self::Original)
    }

    /// The name under which the thumbnail is kept.
    fn name(self, still: bool) -> String {
        let still = if still { "-still" } else { "" };
        match self {
            Self::Cropped(width, height) => format!("{width}x{height}-crop{still}"),
            Self::Scaled(width, height) => format!("{width}x{height}-scale{still}"),
            Self::Original => "original".to_owned(),
        }
    }
}

/// Decodes, shrinks and encodes: work for a thread that may be busy.
fn thumbnail(content: &[u8], size: Size, still: bool) -> Result<Made, Error> {
    let format = image::guess_format(content).map_err(refused)?;
    let mut reader = ImageReader::with_format(Cursor::new(content), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_PIXELS);
    limits.max_image_height = Some(MAX_PIXELS);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refused)?;
    // The limits bind the decoder only; the pixels that come out of it are ours to bound.
    if decoder.total_bytes() > MAX_BYTES {
        return Err(Error::ImageTooLarge);
    }
    let orientation = decoder.orientation().map_err(refused)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(refused)?;
    image.apply_orientation(orientation);

    let may_move = !matches!(format, ImageFormat::Jpeg);
    let Some(shrunk) = shrink(&image, size) else {
        return if still && may_move {
            encode(&image)
        } else {
            Ok(Made::Original)
        };
    };
    encode(&shrunk)
}

/// The image in a smaller size; nothing when it is small enough. Never larger than it was.
fn shrink(image: &DynamicImage, size: Size) -> Option<DynamicImage> {
    let (has_width, has_height) = (image.width(), image.height());
    match size {
        Size::Cropped(width, height) if has_width > width || has_height > height => {
            let (width, height) = (width.min(has_width), height.min(has_height));
            Some(image.resize_to_fill(width, height, FilterType::Triangle))
        }
        Size::Scaled(width, height) if has_width > width || has_height > height => {
            Some(image.resize(width, height, FilterType::Triangle))
        }
        _ => None,
    }
}

/// JPEG, or PNG where something shows through.
fn encode(image: &DynamicImage) -> Result<Made, Error> {
    let mut bytes = Cursor::new(Vec::new());
    if image.color().has_alpha() {
        image
            .write_to(&mut bytes, ImageFormat::Png)
            .map_err(refused)?;
    } else {
        let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
        image
            .to_rgb8()
            .write_with_encoder(encoder)
            .map_err(refused)?;
    }
    Ok(Made::Image(Bytes::from(bytes.into_inner())))
}

fn refused(error: ImageError) -> Error {
    match error {
        ImageError::Limits(_) => Error::ImageTooLarge,
        _ => Error::NoThumbnail,
    }
}
