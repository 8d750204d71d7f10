pub struct Ground;
