//! x
mod budget; mod columns; mod kept; mod labels; mod moments; mod stacks; mod text;
#[cfg(test)] mod synthetic;
