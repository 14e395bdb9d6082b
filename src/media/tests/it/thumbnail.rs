//! Small versions of images: small enough, never larger than the image, and only of images.

use std::{io::Cursor, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, RgbaImage};
use media::{Error, ThumbnailRequest, Upload};
use ruma::{OwnedMxcUri, media::Method};

use crate::support::{Setting, file, setting};

async fn upload(setting: &Setting, content: Vec<u8>) -> OwnedMxcUri {
    let alice = setting.user("alice").await;
    let body = stream::iter([Ok(Bytes::from(content))]).boxed();
    let upload = Upload {
        content_type: Some("image/x".to_owned()),
        filename: None,
        body,
    };
    setting
        .media
        .upload(&alice, upload)
        .await
        .expect("uploaded")
}

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image
        .into()
        .write_to(&mut bytes, ImageFormat::Png)
        .expect("a PNG");
    bytes.into_inner()
}

/// An image in which nothing shows through.
fn opaque(width: u32, height: u32) -> Vec<u8> {
    let dot = |x: u32, y: u32| Rgb([(x % 256) as u8, (y % 256) as u8, 7]);
    png(RgbImage::from_fn(width, height, dot))
}

fn wanted(width: u32, height: u32, method: Method) -> ThumbnailRequest {
    ThumbnailRequest {
        width,
        height,
        method,
        animated: None,
    }
}

/// The media type that is served, and the bytes.
async fn served(
    setting: &Setting,
    uri: &OwnedMxcUri,
    wanted: ThumbnailRequest,
) -> Result<(String, Vec<u8>), Error> {
    let (server_name, media_id) = uri.parts().expect("a URI");
    let file = setting
        .media
        .thumbnail(server_name, media_id, wanted, Duration::ZERO)
        .await?;
    let parts: Vec<Bytes> = file.body.try_collect().await?;
    Ok((file.content_type.expect("a type"), parts.concat()))
}

#[tokio::test]
async fn photographs_stay_photographs() {
    let setting = setting().await;
    let mut jpeg = Cursor::new(Vec::new());
    let photograph = RgbImage::from_pixel(1000, 500, Rgb([1, 2, 3]));
    let written = photograph.write_to(&mut jpeg, ImageFormat::Jpeg);
    written.expect("a JPEG");
    let uri = upload(&setting, jpeg.into_inner()).await;
    let found = served(&setting, &uri, wanted(32, 32, Method::Crop)).await;
    assert_eq!(found.expect("a thumbnail").0, "image/jpeg");
}

#[tokio::test]
async fn images_are_scaled_into_the_next_larger_size_and_kept() {
    let setting = setting().await;
    let uri = upload(&setting, opaque(1000, 500)).await;
    assert_eq!(setting.files(), 1);
    for _ in 0..2 {
        let (content_type, bytes) = served(&setting, &uri, wanted(300, 100, Method::Scale))
            .await
            .expect("a thumbnail");
        assert_eq!(content_type, "image/png");
        let image = image::load_from_memory(&bytes).expect("an image");
        assert_eq!((image.width(), image.height()), (320, 160));
        assert_eq!(setting.files(), 2);
    }
}

#[tokio::test]
async fn cropped_thumbnails_fill_their_size_and_keep_transparency() {
    let setting = setting().await;
    let uri = upload(&setting, png(RgbaImage::new(300, 200))).await;
    let (content_type, bytes) = served(&setting, &uri, wanted(64, 64, Method::Crop))
        .await
        .expect("a thumbnail");
    assert_eq!(content_type, "image/png");
    let image = image::load_from_memory(&bytes).expect("an image");
    assert_eq!((image.width(), image.height()), (96, 96));
}

#[tokio::test]
async fn small_images_and_large_wishes_are_served_with_the_image_itself() {
    let setting = setting().await;
    let content = opaque(20, 20);
    let uri = upload(&setting, content.clone()).await;
    for wanted in [
        wanted(32, 32, Method::Crop),
        wanted(5000, 5000, Method::Scale),
    ] {
        let (content_type, bytes) = served(&setting, &uri, wanted).await.expect("the image");
        assert_eq!((&*content_type, &bytes), ("image/x", &content));
    }
}

#[tokio::test]
async fn what_is_not_an_image_has_no_thumbnail() {
    let setting = setting().await;
    let alice = setting.user("bob").await;
    for content in [
        &b"text"[..],
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ] {
        let uploaded = setting.media.upload(&alice, file(content)).await;
        let uri = uploaded.expect("uploaded");
        for size in [32, 800, 801, 5000] {
            let refused = served(&setting, &uri, wanted(size, size, Method::Scale)).await;
            assert!(matches!(refused, Err(Error::NoThumbnail)), "{size}");
        }
    }
    let mut broken = opaque(100, 100);
    broken.truncate(60);
    let uri = upload(&setting, broken).await;
    let refused = served(&setting, &uri, wanted(32, 32, Method::Scale)).await;
    assert!(matches!(refused, Err(Error::NoThumbnail)));
}

#[tokio::test]
async fn images_of_too_many_pixels_are_refused_before_they_are_decoded() {
    let setting = setting().await;
    let mut bomb = opaque(1, 1);
    // Width and height of a PNG, and the checksum of the chunk that they are in.
    bomb[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let checksum = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    let uri = upload(&setting, bomb).await;
    let refused = served(&setting, &uri, wanted(32, 32, Method::Scale)).await;
    assert!(matches!(refused, Err(Error::ImageTooLarge)), "{refused:?}");
}

#[tokio::test]
async fn small_file_with_too_many_pixels_is_refused() {
    let setting = setting().await;
    // A GIF of 16,384 by 16,384 pixels that says nothing of any of them.
    let mut bomb = b"GIF89a".to_vec();
    bomb.extend([0, 0x40, 0, 0x40, 0x80, 0, 0, 0, 0, 0, 255, 255, 255]);
    bomb.extend([0x2C, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0, 0x3B]);
    let uri = upload(&setting, bomb).await;
    let refused = served(&setting, &uri, wanted(32, 32, Method::Scale)).await;
    assert!(matches!(refused, Err(Error::ImageTooLarge)), "{refused:?}");
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            }
        })
    })
}
