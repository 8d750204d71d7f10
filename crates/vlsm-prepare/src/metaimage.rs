//! Single images in MetaImage files (`.mhd` with a raw file).

use std::collections::HashMap;
use std::path::{Component, Path};

use vlsm_image::{ClassMap, ImageError, Result, read_bytes, read_text};

use crate::raw::{Number, Raw, single};

/// Reads an image; see [`read_scan`](crate::scan::read_scan).
pub(crate) fn read_metaimage(path: &Path) -> Result<ClassMap> {
    decode_metaimage(path, &read_text(path)?, read_bytes)
}

/// Decodes a MetaImage with the header `text`: one image with levels or labels from 0 to 255; fractions are rounded. `path`
/// is the header's, `read` reads the raw file that it names.
///
/// # Errors
/// If the header is damaged or not supported, names a file outside its folder, or does not fit the raw file; if it holds more
/// than one image, or has levels out of range; and those of `read`.
pub fn decode_metaimage(
    path: &Path,
    text: &str,
    read: impl FnOnce(&Path) -> Result<Vec<u8>>,
) -> Result<ClassMap> {
    let fault = |reason: &str| ImageError::image(path, reason);
    let fields: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let field = |key: &str| fields.get(key).copied();
    let axes: Option<Vec<usize>> =
        field("DimSize").and_then(|axes| axes.split_whitespace().map(|a| a.parse().ok()).collect());
    let Some([width, height, further @ ..]) = axes.as_deref() else {
        return Err(fault("its `DimSize` is missing or not a list of sizes"));
    };
    let number = match field("ElementType") {
        Some("MET_UCHAR") => Number::U8,
        Some("MET_CHAR") => Number::I8,
        Some("MET_USHORT") => Number::U16,
        Some("MET_SHORT") => Number::I16,
        Some("MET_INT") => Number::I32,
        Some("MET_FLOAT") => Number::F32,
        Some("MET_DOUBLE") => Number::F64,
        other => {
            let other = other.unwrap_or("(missing)");
            return Err(fault(&format!(
                "its `ElementType` {other} is not supported"
            )));
        }
    };
    if field("CompressedData").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || field("ElementNumberOfChannels").is_some_and(|value| value != "1")
    {
        return Err(fault("compressed data and colour are not supported"));
    }
    let data = match field("ElementDataFile") {
        None | Some("LOCAL" | "LIST") => {
            return Err(fault("its `ElementDataFile` does not name a raw file"));
        }
        // A header from elsewhere must not name any file of this computer.
        Some(name)
            if Path::new(name)
                .components()
                .eq([Component::Normal(name.as_ref())]) =>
        {
            path.with_file_name(name)
        }
        Some(name) => {
            return Err(fault(&format!(
                "its `ElementDataFile` is `{name}`, which is not a file in the same folder"
            )));
        }
    };
    let order = field("BinaryDataByteOrderMSB").or(field("ElementByteOrderMSB"));
    single(further.iter().any(|&length| length != 1), path)?;
    let raw = Raw {
        width: *width,
        height: *height,
        number,
        big_endian: order.is_some_and(|value| value.eq_ignore_ascii_case("true")),
        slope: 1.0,
        intercept: 0.0,
        bytes: &read(&data)?,
    };
    raw.levels(path)
}
