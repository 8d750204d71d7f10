//! Finds files with several pages or frames, of which only the first can be read.

use std::io::Cursor;

use image::ImageFormat;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;

/// Whether a file has several pages (TIFF) or frames (PNG, WebP). A file that cannot be read has not; its decoder reports
/// the fault.
pub(crate) fn has_several_pages(format: ImageFormat, bytes: &[u8]) -> bool {
    let file = Cursor::new(bytes);
    match format {
        ImageFormat::Tiff => {
            tiff::decoder::Decoder::new(file).is_ok_and(|decoder| decoder.more_images())
        }
        ImageFormat::Png => PngDecoder::new(file)
            .and_then(|decoder| decoder.is_apng())
            .unwrap_or(false),
        ImageFormat::WebP => WebPDecoder::new(file).is_ok_and(|decoder| decoder.has_animation()),
        _ => false,
    }
}
