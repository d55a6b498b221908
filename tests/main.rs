//! One binary for all tests of the whole program.

mod tool_servers;
