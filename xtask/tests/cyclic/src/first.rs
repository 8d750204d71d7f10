use crate::ground::Ground;

pub struct First(Ground);

impl First {
    fn body() {
        use super::second::{helper, other as renamed};
        helper();
        renamed();
    }
}
