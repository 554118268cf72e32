//! The operator's commands that ask a running agent. They print what it says and change nothing.

mod ask;
