//! Conformance of buckets.

use crate::endpoint::{Difference, Endpoint, cases};

fn an_object_is_returned_as_it_was_put(cloud: &dyn Endpoint) {
    let bucket = cloud.fresh_bucket();
    let bytes: Vec<u8> = (0..=255).collect();
    cloud.put_object(&bucket, "media/acme/1", "image/png", &bytes).unwrap();
    let object = cloud.get_object(&bucket, "media/acme/1").unwrap();
    assert_eq!(object.bytes, bytes);
    assert_eq!(object.content_type, "image/png");
}

fn the_last_put_wins(cloud: &dyn Endpoint) {
    let bucket = cloud.fresh_bucket();
    cloud.put_object(&bucket, "key", "text/plain", b"first").unwrap();
    cloud.put_object(&bucket, "key", "application/json", b"{}").unwrap();
    let object = cloud.get_object(&bucket, "key").unwrap();
    assert_eq!((&*object.content_type, &*object.bytes), ("application/json", &b"{}"[..]));
}

fn a_missing_key_is_refused(cloud: &dyn Endpoint) {
    let bucket = cloud.fresh_bucket();
    cloud.put_object(&bucket, "key", "text/plain", b"first").unwrap();
    let refusal = cloud.get_object(&bucket, "key/").unwrap_err();
    assert_eq!((refusal.status, &*refusal.code), (404, "NoSuchKey"));
}

fn a_missing_bucket_is_refused(cloud: &dyn Endpoint) {
    let bucket = cloud.fresh_name();
    let refusal = cloud.get_object(&bucket, "key").unwrap_err();
    assert_eq!((refusal.status, &*refusal.code), (404, "NoSuchBucket"));
    let refusal = cloud.put_object(&bucket, "key", "text/plain", b"first").unwrap_err();
    assert_eq!((refusal.status, &*refusal.code), (404, "NoSuchBucket"));
}

fn buckets_do_not_share_keys(cloud: &dyn Endpoint) {
    let (one, other) = (cloud.fresh_bucket(), cloud.fresh_bucket());
    cloud.put_object(&one, "key", "text/plain", b"first").unwrap();
    assert_eq!(cloud.get_object(&other, "key").unwrap_err().code, "NoSuchKey");
}

fn an_object_can_be_empty(cloud: &dyn Endpoint) {
    let bucket = cloud.fresh_bucket();
    cloud.put_object(&bucket, "key", "text/plain", b"").unwrap();
    assert_eq!(cloud.get_object(&bucket, "key").unwrap().bytes, b"");
}

fn a_key_has_at_most_1024_bytes(cloud: &dyn Endpoint) {
    let bucket = cloud.fresh_bucket();
    cloud.put_object(&bucket, &"k".repeat(1024), "text/plain", b"first").unwrap();
    let refusal = cloud.put_object(&bucket, &"k".repeat(1025), "text/plain", b"first").unwrap_err();
    assert_eq!((refusal.status, &*refusal.code), (400, "KeyTooLongError"));
}

const KNOWN_DIFFERENCES: &[Difference] = &[Difference {
    case: "a_key_has_at_most_1024_bytes",
    source: "https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html",
    instead: |cloud| {
        let bucket = cloud.fresh_bucket();
        cloud.put_object(&bucket, &"k".repeat(1025), "text/plain", b"first").unwrap();
    },
}];

cases! {
    an_object_is_returned_as_it_was_put,
    the_last_put_wins,
    a_missing_key_is_refused,
    a_missing_bucket_is_refused,
    buckets_do_not_share_keys,
    an_object_can_be_empty,
    a_key_has_at_most_1024_bytes,
}
