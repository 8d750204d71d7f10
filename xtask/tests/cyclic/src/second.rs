// Through the root's re-export, in a macro.
pub fn helper() {
    assert!(matches!(crate::First::new(), _));
}

pub fn other() {}

#[cfg(test)]
mod tests {
    use crate::above::Above;
}
