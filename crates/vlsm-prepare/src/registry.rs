//! All public data sets.

use crate::download::PublicSet;
use crate::{
    ade20k, bkai, busi, camus, camvid, chexlocalize, cityscapes, clinicdb, colondb, cvc_300,
    dfu_2022, etis, isic_2016, kitti_360, kvasir_seg,
};

impl PublicSet {
    /// All data sets, in the order of the published tables.
    pub const ALL: [&'static Self; 17] = [
        &kvasir_seg::SET,
        &bkai::SET,
        &bkai::CLASSES,
        &clinicdb::SET,
        &cvc_300::SET,
        &colondb::SET,
        &etis::SET,
        &isic_2016::SET,
        &dfu_2022::SET,
        &camus::SET,
        &busi::SET,
        &chexlocalize::SET,
        &cityscapes::SET,
        &camvid::SET,
        &camvid::ALL_CLASSES,
        &kitti_360::SET,
        &ade20k::SET,
    ];

    /// The data set named `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.into_iter().find(|set| set.name == name)
    }
}
