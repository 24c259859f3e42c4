//! Rules of media: with which headers the bucket serves a file.
//!
//! A sender can claim any MIME type. A file that a browser renders as a document could run scripts
//! on the origin of the bucket, so only images, audio and video are displayed, and only if the
//! bytes are of that type; every other file is downloaded.

use domain::ports::FileHeaders;
use file_format::FileFormat;

/// Content type of a file whose type is unknown or could run scripts.
pub const UNKNOWN: &str = "application/octet-stream";

/// Types that browsers display, and that cannot contain scripts.
const SHOWN: [&str; 13] = [
    "audio/aac",
    "audio/amr",
    "audio/mp4",
    "audio/mpeg",
    "audio/ogg",
    "audio/wav",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "video/3gpp",
    "video/mp4",
    "video/quicktime",
];

/// Types that are downloaded under their own name. PDF is among them, because it can contain
/// scripts, and links that seem to be the hub's.
const DOWNLOADED: [&str; 15] = [
    "application/json",
    "application/msword",
    "application/pdf",
    "application/rtf",
    "application/vnd.ms-excel",
    "application/vnd.ms-powerpoint",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/zip",
    "text/calendar",
    "text/csv",
    "text/plain",
    "text/vcard",
    "video/webm",
];

/// Returns the content type with which a file is stored: found in its bytes, or `claimed` if a file
/// of that type is only downloaded, else [`UNKNOWN`].
#[must_use]
pub fn content_type(bytes: &[u8], claimed: Option<&str>) -> &'static str {
    let claimed = claimed.unwrap_or_default().split(';').next().unwrap_or_default();
    let claimed = claimed.trim().to_ascii_lowercase();
    shown(FileFormat::from_bytes(bytes), &claimed)
        .or_else(|| listed(&DOWNLOADED, &claimed))
        .unwrap_or(UNKNOWN)
}

/// Returns the type in [`SHOWN`] of a file. MP4 can be a video or audio without one, in the same
/// container: then the claimed type decides.
fn shown(format: FileFormat, claimed: &str) -> Option<&'static str> {
    Some(match format {
        FileFormat::AdvancedAudioCoding => "audio/aac",
        FileFormat::AdaptiveMultiRate => "audio/amr",
        FileFormat::AppleItunesAudio => "audio/mp4",
        FileFormat::Mpeg4Part14 if claimed.starts_with("audio/") => "audio/mp4",
        FileFormat::Mpeg12AudioLayer3 | FileFormat::Id3v2 => "audio/mpeg",
        FileFormat::OggOpus
        | FileFormat::OggVorbis
        | FileFormat::OggSpeex
        | FileFormat::OggMultiplexedMedia => "audio/ogg",
        FileFormat::WaveformAudio => "audio/wav",
        FileFormat::GraphicsInterchangeFormat => "image/gif",
        FileFormat::JointPhotographicExpertsGroup => "image/jpeg",
        FileFormat::PortableNetworkGraphics | FileFormat::AnimatedPortableNetworkGraphics => {
            "image/png"
        }
        FileFormat::Webp => "image/webp",
        FileFormat::ThirdGenerationPartnershipProject => "video/3gpp",
        FileFormat::Mpeg4Part14 | FileFormat::AppleItunesVideo => "video/mp4",
        FileFormat::AppleQuicktime => "video/quicktime",
        _ => return None,
    })
}

fn listed(types: &[&'static str], wanted: &str) -> Option<&'static str> {
    types.iter().find(|one| **one == wanted).copied()
}

/// Returns the headers for a file that was stored with `content_type`. A type that is in no list is
/// served as [`UNKNOWN`].
#[must_use]
pub fn headers(content_type: &str) -> FileHeaders {
    match (listed(&SHOWN, content_type), listed(&DOWNLOADED, content_type)) {
        (Some(content_type), _) => FileHeaders { content_type, disposition: "inline" },
        (None, found) => {
            FileHeaders { content_type: found.unwrap_or(UNKNOWN), disposition: "attachment" }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first bytes of a file of each type that is shown, with the type that its sender claims.
    const FILES: [(&[u8], &str, &str); 22] = [
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg", "image/jpeg"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "text/html", "image/jpeg"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/svg+xml", "image/png"),
        (b"GIF89a", "image/gif", "image/gif"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp", "image/webp"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0", "video/mp4", "video/mp4"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0", "audio/mp4; codecs=aac", "audio/mp4"),
        (b"\0\0\0\x20ftypmp42\0\0\0\0", "application/xml", "video/mp4"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "audio/mp4", "audio/mp4"),
        (b"\0\0\0\x18ftyp3gp4\0\0\0\0", "video/3gpp", "video/3gpp"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "video/quicktime", "video/quicktime"),
        (
            b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead",
            "audio/ogg",
            "audio/ogg",
        ),
        (b"OggS\0\x02", "audio/ogg; codecs=opus", "audio/ogg"),
        (b"ID3\x04\0\0", "audio/mpeg", "audio/mpeg"),
        (b"\xff\xfb\x90\x64", "audio/mpeg", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac", "audio/aac"),
        (b"#!AMR\n", "audio/amr", "audio/amr"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio/x-wav", "audio/wav"),
        (b"\0\0\0\x20ftypM4V \0\0\0\0", "video/mp4", "video/mp4"),
        (b"GIF87a", "application/javascript", "image/gif"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png", "image/png"),
    ];

    #[test]
    fn a_file_of_a_type_that_is_shown_has_the_type_of_its_bytes() {
        for (bytes, claimed, expected) in FILES {
            let found = content_type(bytes, Some(claimed));
            assert_eq!(found, expected, "{:?} as {claimed}", bytes.escape_ascii().to_string());
            let inline = FileHeaders { content_type: expected, disposition: "inline" };
            assert_eq!(headers(found), inline);
        }
        let types = FILES.map(|(_, _, expected)| expected);
        let untested: Vec<_> = SHOWN.iter().filter(|shown| !types.contains(shown)).collect();
        assert!(untested.is_empty(), "no file of {untested:?}");
    }

    #[test]
    fn a_document_is_downloaded_with_its_claimed_type() {
        for (bytes, claimed, expected) in [
            (&b"%PDF-1.7\n"[..], "application/pdf", "application/pdf"),
            (b"PK\x03\x04", DOWNLOADED[8], DOWNLOADED[8]),
            (b"Name,Phone\n", "text/csv; charset=utf-8", "text/csv"),
            (b"<script>alert(1)</script>", "TEXT/PLAIN", "text/plain"),
            (b"{}", "application/json", "application/json"),
        ] {
            let found = content_type(bytes, Some(claimed));
            assert_eq!(found, expected);
            let attachment = FileHeaders { content_type: expected, disposition: "attachment" };
            assert_eq!(headers(found), attachment);
        }
    }

    #[test]
    fn what_a_browser_could_run_is_downloaded_without_its_type() {
        let html = b"<!DOCTYPE html><script>alert(document.domain)</script>".as_slice();
        let svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>".as_slice();
        let xml = b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'/>".as_slice();
        for (bytes, claimed) in [
            (html, "text/html"),
            (html, "image/jpeg"),
            (html, "application/xhtml+xml"),
            (html, "text/html;charset=utf-16"),
            (html, "video/mp4\r\nx: y"),
            (svg, "image/svg+xml"),
            (svg, "image/png"),
            (xml, "text/xml"),
            (xml, "application/xml"),
            (b"alert(1)", "text/javascript"),
            (b"alert(1)", "multipart/x-mixed-replace"),
            (b"%PDF-1.7\n", "text/html"),
            (b"", "text/html"),
        ] {
            let found = content_type(bytes, Some(claimed));
            assert_eq!(found, UNKNOWN, "{claimed}");
            let attachment = FileHeaders { content_type: UNKNOWN, disposition: "attachment" };
            assert_eq!(headers(found), attachment);
        }
        assert_eq!(content_type(html, None), UNKNOWN);
    }

    proptest! {
        #[test]
        fn no_bytes_and_no_claim_have_a_type_outside_the_lists(
            bytes: Vec<u8>, claimed in proptest::option::of(".*"),
        ) {
            let found = content_type(&bytes, claimed.as_deref());
            prop_assert!(found == UNKNOWN || SHOWN.contains(&found) || DOWNLOADED.contains(&found));
            prop_assert!(headers(found).disposition == "attachment" || SHOWN.contains(&found));
        }

        #[test]
        fn markup_is_never_shown(rest in ".*", claimed in ".*") {
            let found = content_type(format!("<{rest}").as_bytes(), Some(&claimed));
            prop_assert_eq!(headers(found).disposition, "attachment");
        }
    }
}
