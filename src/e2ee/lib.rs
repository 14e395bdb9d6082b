//! e2ee.
