//! The REST contract: typed ids, resources, problem body, pages.
