//! Medical formats.

use std::path::Path;

use vlsm_prepare::{Rle, decode_metaimage, decode_nifti};

/// A NIfTI file, compressed or not.
pub fn nifti(bytes: &[u8]) -> bool {
    decode_nifti(Path::new("input.nii"), bytes).is_ok()
}

/// The header of a MetaImage with a raw file of 64 bytes.
pub fn metaimage(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let path = Path::new("folder/input.mhd");
    let image = decode_metaimage(path, text, |raw| {
        assert!(raw.starts_with("folder"), "{} is read", raw.display());
        Ok(vec![7; 64])
    });
    image.is_ok()
}

/// A mask of run lengths in JSON.
pub fn run_lengths(bytes: &[u8]) -> bool {
    let Ok(rle) = serde_json::from_slice::<Rle>(bytes) else {
        return false;
    };
    match rle.decode() {
        Ok(mask) => {
            assert_eq!(mask.data.len(), rle.size[0] * rle.size[1]);
            true
        }
        Err(_) => false,
    }
}
