//! S3: the objects of buckets, by key.
//!
//! S3 is strongly consistent: a read sees every write that completed before it began, and of two
//! writes to one key, one takes effect as a whole.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel>

use std::collections::BTreeMap;

use super::Refusal;

/// The longest key, in bytes of UTF-8.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
const LONGEST_KEY: usize = 1024;
/// The largest object that a single request can upload: 5 GB.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>
const LARGEST: usize = 5 << 30;

/// S3.
#[derive(Clone, Debug, Default)]
pub struct S3 {
    buckets: BTreeMap<String, BTreeMap<String, Object>>,
    requests: BTreeMap<&'static str, u64>,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The media type with which it was uploaded.
    pub content_type: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl S3 {
    /// Creates S3 without a bucket.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty bucket. An existing one is unchanged.
    pub fn create_bucket(&mut self, bucket: &str) {
        self.buckets.entry(bucket.to_owned()).or_default();
    }

    /// Puts an object, and replaces an existing one.
    ///
    /// # Errors
    /// `NoSuchBucket`, `KeyTooLongError`, `EntityTooLarge`.
    pub fn put(
        &mut self,
        bucket: &str,
        key: &str,
        content_type: &str,
        bytes: Vec<u8>,
    ) -> Result<(), Refusal> {
        self.count("PutObject");
        check_key(key)?;
        if bytes.len() > LARGEST {
            let reason = "Your proposed upload exceeds the maximum allowed object size.";
            return Err(Refusal::new("EntityTooLarge", reason));
        }
        let objects = self.buckets.get_mut(bucket).ok_or_else(no_such_bucket)?;
        let object = Object { content_type: content_type.to_owned(), bytes };
        objects.insert(key.to_owned(), object);
        Ok(())
    }

    /// Gets an object.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`, `KeyTooLongError`.
    pub fn get(&mut self, bucket: &str, key: &str) -> Result<&Object, Refusal> {
        self.count("GetObject");
        check_key(key)?;
        let objects = self.buckets.get(bucket).ok_or_else(no_such_bucket)?;
        objects.get(key).ok_or_else(|| not_found("NoSuchKey", "The specified key does not exist."))
    }

    /// The objects of a bucket with their keys, in the order of the keys.
    pub fn objects(&self, bucket: &str) -> impl Iterator<Item = (&str, &Object)> {
        let objects = self.buckets.get(bucket).into_iter().flatten();
        objects.map(|(key, object)| (key.as_str(), object))
    }

    /// Number of requests by operation, refused ones included.
    #[must_use]
    pub fn requests(&self) -> &BTreeMap<&'static str, u64> {
        &self.requests
    }

    fn count(&mut self, operation: &'static str) {
        *self.requests.entry(operation).or_default() += 1;
    }
}

fn check_key(key: &str) -> Result<(), Refusal> {
    match key.len() {
        0 => Err(Refusal::new("InvalidURI", "Couldn't parse the specified URI.")),
        1..=LONGEST_KEY => Ok(()),
        _ => Err(Refusal::new("KeyTooLongError", "Your key is too long")),
    }
}

fn no_such_bucket() -> Refusal {
    not_found("NoSuchBucket", "The specified bucket does not exist")
}

fn not_found(code: &str, message: &str) -> Refusal {
    Refusal { status: 404, ..Refusal::new(code, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_listed_in_the_order_of_their_keys() {
        let mut s3 = S3::new();
        s3.create_bucket("b");
        for key in ["media/2", "archive/1", "media/1"] {
            s3.put("b", key, "text/plain", key.into()).unwrap();
        }
        // Creating the bucket again leaves it unchanged.
        s3.create_bucket("b");
        let keys: Vec<&str> = s3.objects("b").map(|(key, _)| key).collect();
        assert_eq!(keys, ["archive/1", "media/1", "media/2"]);
        assert_eq!(s3.objects("c").count(), 0);
    }

    #[test]
    fn requests_are_counted_including_refused_ones() {
        let mut s3 = S3::new();
        s3.put("b", "k", "text/plain", Vec::new()).unwrap_err();
        s3.create_bucket("b");
        s3.put("b", "k", "text/plain", Vec::new()).unwrap();
        s3.get("b", "").unwrap_err();
        assert_eq!(*s3.requests(), BTreeMap::from([("PutObject", 2), ("GetObject", 1)]));
    }
}
