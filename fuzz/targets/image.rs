//! Image files, of which thumbnails are made.
#![no_main]

use libfuzzer_sys::fuzz_target;
use media::{ThumbnailResult, ThumbnailSize, create_thumbnail};

fuzz_target!(|input: (bool, bool, &[u8])| {
    let (cropped, still, content) = input;
    let size = match cropped {
        true => ThumbnailSize::Cropped(32, 32),
        false => ThumbnailSize::Scaled(320, 240),
    };
    if let Ok(ThumbnailResult::Image(bytes)) = create_thumbnail(content, size, still) {
        assert!(create_thumbnail(&bytes, size, false).is_ok());
    }
});
