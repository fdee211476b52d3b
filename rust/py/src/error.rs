//! Exception classes and the one place where core errors become Python exceptions.

use mm_core::Error;
use pyo3::exceptions::{PyException, PyFileNotFoundError, PyValueError};
use pyo3::{PyErr, create_exception};

create_exception!(_core, MmHybridError, PyException, "Base of every error of this package.");
create_exception!(_core, FeedError, MmHybridError, "The market-data feed cannot be started or used.");
create_exception!(_core, DecodeError, MmHybridError, "A message or row that does not have the expected form.");
create_exception!(_core, ReplayError, MmHybridError, "A data file that cannot be read.");
create_exception!(_core, BookError, MmHybridError, "An order book that cannot be built.");
create_exception!(_core, CacheError, MmHybridError, "The local cache failed.");

/// A core error on its way to Python.
pub struct CoreError(pub Error);

impl From<Error> for CoreError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<CoreError> for PyErr {
    fn from(CoreError(error): CoreError) -> Self {
        let message = error.to_string();
        match error {
            Error::File { ref source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                PyFileNotFoundError::new_err(message)
            }
            Error::File { .. } | Error::OpenFiles { .. } => ReplayError::new_err(message),
            Error::Feed { .. } => FeedError::new_err(message),
            Error::Domain { .. } => PyValueError::new_err(message),
            Error::Cache { .. } => CacheError::new_err(message),
            _ => DecodeError::new_err(message),
        }
    }
}
