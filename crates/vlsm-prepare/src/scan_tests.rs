use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::tests::support::nifti;

/// Reads `bytes` as a file named `name`.
fn read(name: &str, bytes: &[u8]) -> Result<ClassMap> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    read_scan(&path)
}

/// An image of 3 x 2 pixels, written by nibabel 5.4 from `[[1, 4], [2, 5], [3, 250]]` (the first axis is x), reduced to
/// the bytes that are read.
fn written_by_nibabel() -> Vec<u8> {
    let mut bytes = vec![0; 358];
    let written: [(usize, &[u8]); 8] = [
        (0, &[92, 1]),
        (40, &[2, 0, 3, 0, 2, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]),
        (70, &[2, 0, 8]),
        (78, &[128, 63]),
        (110, &[176, 67]),
        (114, &[128, 63]),
        (344, b"n+1"),
        (352, &[1, 2, 3, 4, 5, 250]),
    ];
    for (at, value) in written {
        bytes[at..at + value.len()].copy_from_slice(value);
    }
    bytes
}

#[test]
fn nifti_is_read_as_nibabel_wrote_it() {
    let bytes = written_by_nibabel();
    let map = read("x.nii", &bytes).unwrap();
    assert_eq!((map.width, map.height), (3, 2));
    assert_eq!(map.data, [1, 2, 3, 4, 5, 250]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes).unwrap();
    let packed = packed.finish().unwrap();
    assert_eq!(read("x.nii.gz", &packed).unwrap(), map);
    // The helper that writes the test downloads agrees.
    assert_eq!(
        read("x.nii.gz", &nifti(3, 2, &[1, 2, 3, 4, 5, 250])).unwrap(),
        map
    );
    let cut = &packed[..packed.len() - 9];
    let error = read("x.nii.gz", cut).unwrap_err().to_string();
    assert!(error.contains("compression is damaged"), "{error}");
}

#[test]
fn nifti_with_other_number_types_and_byte_orders_is_read() {
    let mut bytes = written_by_nibabel();
    bytes.truncate(352);
    bytes[70..74].copy_from_slice(&[16, 0, 32, 0]); // f32
    bytes[112..116].copy_from_slice(&2f32.to_le_bytes()); // slope
    bytes[116..120].copy_from_slice(&1f32.to_le_bytes()); // intercept
    for level in [0f32, 1.0, 2.0, 3.0, 4.0, 127.0] {
        bytes.extend(level.to_le_bytes());
    }
    let map = read("x.nii", &bytes).unwrap();
    assert_eq!(map.data, [1, 3, 5, 7, 9, 255]);
    // The same with the bytes of every number that is read in reversed order.
    for (at, length) in [
        (0, 4),
        (40, 2),
        (42, 2),
        (44, 2),
        (46, 2),
        (70, 2),
        (108, 4),
        (112, 4),
        (116, 4),
    ] {
        bytes[at..at + length].reverse();
    }
    bytes[352..].chunks_mut(4).for_each(<[u8]>::reverse);
    assert_eq!(read("x.nii", &bytes).unwrap(), map);
}

#[test]
fn files_that_are_not_a_single_image_are_refused() {
    let edited = |at: usize, value: u8| {
        let mut bytes = written_by_nibabel();
        bytes[at] = value;
        read("x.nii", &bytes).unwrap_err().to_string()
    };
    assert!(edited(344, 0).contains("not a single-file NIfTI-1"));
    assert!(edited(0, 7).contains("header is damaged"));
    assert!(edited(70, 32).contains("data type 32 is not supported"));
    assert!(edited(42, 4).contains("6 bytes of pixels do not fit 4x2"));
    assert!(edited(42, 0).contains("0x2"));
    let mut sequence = written_by_nibabel();
    (sequence[40], sequence[46]) = (3, 9);
    let error = read("x.nii", &sequence).unwrap_err().to_string();
    assert!(error.contains("sequence or a volume"), "{error}");
    let short = read("x.nii", b"n+1").unwrap_err().to_string();
    assert!(short.contains("not a single-file NIfTI-1"), "{short}");
}

#[test]
fn meta_images_have_their_pixels_in_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.mhd");
    let read = |header: &str| {
        std::fs::write(&path, header).unwrap();
        read_scan(&path)
    };
    std::fs::write(folder.path().join("x.raw"), [9, 8, 7, 6, 5, 4]).unwrap();
    // As in CAMUS: two axes and one of a single slice.
    let header = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n\
                  CompressedData = False\nDimSize = 3 2 1\nElementType = MET_UCHAR\nElementDataFile = x.raw\n";
    let map = read(header).unwrap();
    assert_eq!((map.width, map.height), (3, 2));
    assert_eq!(map.data, [9, 8, 7, 6, 5, 4]);
    std::fs::write(
        folder.path().join("y.raw"),
        [0, 9, 0, 8, 0, 7, 0, 6, 0, 5, 0, 4],
    )
    .unwrap();
    let wide = header
        .replace("UCHAR", "USHORT")
        .replace("MSB = False", "MSB = True")
        .replace("x.raw", "y.raw");
    assert_eq!(read(&wide).unwrap(), map);
    for (from, to, reason) in [
        ("3 2 1", "3 2 9", "sequence or a volume"),
        ("3 2 1", "3 x", "DimSize"),
        ("3 2 1", "3 3 1", "do not fit 3x3"),
        ("MET_UCHAR", "MET_LONG", "MET_LONG is not supported"),
        ("Data = False", "Data = True", "compressed"),
        ("x.raw", "LOCAL", "ElementDataFile"),
        ("x.raw", "z.raw", "z.raw"),
        ("x.raw", "../x.raw", "not a file in the same folder"),
        ("x.raw", "/dev/zero", "not a file in the same folder"),
        ("x.raw", "..", "not a file in the same folder"),
    ] {
        let error = read(&header.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
