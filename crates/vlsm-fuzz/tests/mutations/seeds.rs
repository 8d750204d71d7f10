//! Valid files for every parser: made here, or the fixtures of other tests.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

pub(crate) use crate::image_seeds::{image, png};
#[cfg(feature = "models")]
pub(crate) use crate::model_seeds::*;

pub(crate) type Seeds = Vec<Vec<u8>>;

/// A file of the repository.
pub(crate) fn file(path: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read(root.join(path)).unwrap()
}

pub(crate) fn texts(texts: &[&str]) -> Seeds {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub(crate) fn nifti() -> Seeds {
    let mut bytes = vec![0; 352];
    bytes[..4].copy_from_slice(&348i32.to_le_bytes());
    for (axis, length) in [2i16, 3, 2, 1].into_iter().enumerate() {
        bytes[40 + 2 * axis..42 + 2 * axis].copy_from_slice(&length.to_le_bytes());
    }
    bytes[70] = 2;
    bytes[72] = 8;
    bytes[108..112].copy_from_slice(&352f32.to_le_bytes());
    bytes[344..348].copy_from_slice(b"n+1\0");
    let mut floats = bytes.clone();
    floats[70] = 16;
    floats[112..116].copy_from_slice(&2f32.to_le_bytes());
    floats.extend(
        [0f32, 1.0, 2.0, 3.0, 4.0, 5.0]
            .map(f32::to_le_bytes)
            .as_flattened(),
    );
    bytes.extend([0, 1, 2, 3, 4, 255]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes).unwrap();
    vec![bytes, floats, packed.finish().unwrap()]
}

pub(crate) fn metaimage() -> Seeds {
    texts(&[
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\nDimSize = 3 \
         2 1\nElementType = MET_UCHAR\nElementDataFile = x.raw\n",
        "DimSize = 2 2\nElementByteOrderMSB = True\nElementNumberOfChannels = 1\nElementType = MET_USHORT\nElementDataFile = \
         y.raw\n"
            .replace("USHORT", "UCHAR")
            .as_str(),
    ])
}

pub(crate) fn run_lengths() -> Seeds {
    texts(&[
        r#"{"size":[4,5],"counts":"51220O3"}"#,
        r#"{"size":[3,9],"counts":"0110000000000000000000000000"}"#,
        r#"{"size":[70,90],"counts":"::l1000000000000000gj01VUO4M2N2M4N0O2N2N2O0O2O0O2O0O2O0O2O00000O2O000000000000000000000000000000000001N1000001N101N101N101N101N2N2N102L3N2N3LUe0"}"#,
    ])
}

pub(crate) fn annotations() -> Seeds {
    texts(&[
        r#"[{"img_name":"a.png","mask_name":"a.png","prompts":{"p0":"","p1":"a polyp","p6":["one small, red polyp","one polyp"]},"oracle":{"p6":["size","colour"]},"group":"polyp","bbox":[0,0,1,1]},
            {"img_name":"b.png","mask_name":"b.png","prompts":{"p1":"two polyps"}}]"#,
    ])
}

pub(crate) fn prompts() -> Seeds {
    texts(&[
        r#"{"a":"a polyp","b":["two polyps","polyps"]}"#,
        r#"{"a":{"p0":"","p1":"a polyp"},"b":{"p1":["two polyps","polyps"]}}"#,
    ])
}

pub(crate) fn classes() -> Seeds {
    texts(&[
        r#"{"classes":["Sky",null,"Road"],"ignore_index":11}"#,
        r#"{"classes":["","car","road","sign"],"ignore_index":null}"#,
    ])
}

pub(crate) fn subjects() -> Seeds {
    texts(&[
        "image,group\na,patient 1\nb,patient 2\n",
        "image,group\r\na.png,\"patient, 1\"\r\nb.png,2\r\n",
    ])
}

pub(crate) fn split_list() -> Seeds {
    texts(&["a\nb\n", "a.png\r\nb.png\r\n"])
}
