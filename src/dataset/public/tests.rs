use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use flate2::{Compression, write::GzEncoder};

use super::*;

const SPLITS: [(&str, &[u8]); 3] = [
    ("train.txt", b"a\tr\tb\nb\tr\tc\n"),
    ("valid.txt", b"a\tr\tc\r\n"),
    ("test.txt", b"c\tr\ta\n"),
];

fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, text) in SPLITS {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, format!("folder/{name}"), text)
            .unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// A dataset whose address is a server on this machine that answers once, with `answer`.
fn served(status: &'static str, answer: Vec<u8>) -> PublicDataset {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/tiny.tar.gz", server.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for _ in lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
        {}
        let length = answer.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n"
        )
        .unwrap();
        stream.write_all(&answer).unwrap();
    });
    tiny(url.leak())
}

fn tiny(url: &'static str) -> PublicDataset {
    let digest = |text| &*digest(text).leak();
    let sha256 = SPLITS.map(|(_, text)| digest(text));
    PublicDataset {
        name: "tiny",
        description: "",
        url,
        sha256,
    }
}

fn directories(cache: &tempfile::TempDir) -> DataDirectories {
    DataDirectories {
        data: None,
        cache: Some(cache.path().join("datasets")),
    }
}

fn entries(directories: &DataDirectories) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directories.cache.as_ref().unwrap()) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn digests_are_of_the_text_with_plain_line_endings() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(digest(b"abc"), abc);
    assert_eq!(digest(b"a\r\nb\r\n"), digest(b"a\nb\n"));
    assert_ne!(digest(b"a\rb"), digest(b"ab"));
}

#[test]
fn downloads_once_and_keeps_it() {
    let cache = tempfile::tempdir().unwrap();
    let directories = directories(&cache);
    let dataset = served("200 OK", archive());
    let files = dataset.open(&directories).unwrap();
    assert_eq!(files[2].read().unwrap(), SPLITS[2].1);
    assert_eq!(entries(&directories), ["tiny.tar.gz"]);
    // The server is gone, so the dataset must come from the cache.
    assert_eq!(
        dataset.open(&directories).unwrap()[0].read().unwrap(),
        SPLITS[0].1
    );
}

#[test]
fn a_wrong_download_leaves_nothing_behind() {
    let cache = tempfile::tempdir().unwrap();
    let directories = directories(&cache);

    let mut dataset = served("200 OK", archive());
    dataset.sha256[2] = "00";
    let error = dataset.open(&directories).unwrap_err();
    let wrong = matches!(&error, DatasetError::Public(PublicError::Checksum { .. }));
    assert!(wrong, "{error}");
    let message = error.to_string();
    assert!(
        message.contains(dataset.url) && message.contains("test.txt"),
        "{message}"
    );
    assert!(message.contains("expected SHA-256 00") && message.contains(&digest(SPLITS[2].1)));

    for (status, answer) in [
        ("200 OK", archive()[..40].to_vec()),
        ("200 OK", b"<html>a captive portal</html>".to_vec()),
        ("404 Not Found", Vec::new()),
    ] {
        let error = served(status, answer).open(&directories).unwrap_err();
        assert!(
            matches!(error, DatasetError::Public(PublicError::Download { .. })),
            "{error}"
        );
    }
    assert!(entries(&directories).is_empty());
}

#[test]
fn local_copies_win_whatever_their_case_and_are_checked() {
    let data = tempfile::tempdir().unwrap();
    let directories = DataDirectories {
        data: Some(data.path().to_owned()),
        cache: None,
    };
    let dataset = tiny("http://127.0.0.1:9/");
    assert!(matches!(
        dataset.open(&directories).unwrap_err(),
        DatasetError::Public(PublicError::NoCache { .. })
    ));
    fs::write(data.path().join("TINY.tar.gz"), archive()).unwrap();
    fs::write(data.path().join("tiny-notes.txt"), "").unwrap();
    assert_eq!(
        dataset.open(&directories).unwrap()[1].read().unwrap(),
        SPLITS[1].1
    );

    fs::remove_file(data.path().join("TINY.tar.gz")).unwrap();
    fs::create_dir(data.path().join("Tiny")).unwrap();
    for (name, _) in SPLITS {
        fs::write(data.path().join("Tiny").join(name), "a\tr\tb\n").unwrap();
    }
    let error = dataset.open(&directories).unwrap_err().to_string();
    assert!(
        error.contains("train.txt is not the published tiny"),
        "{error}"
    );
}

#[test]
fn an_unreadable_data_directory_is_an_error() {
    let data = Some(PathBuf::from("no/such/directory"));
    let directories = DataDirectories { data, cache: None };
    let error = tiny("").open(&directories).unwrap_err().to_string();
    assert!(error.starts_with("no/such/directory: "), "{error}");
}

#[test]
fn names_match_whatever_their_case() {
    assert_eq!(PublicDataset::find("FB15k-237").unwrap().name, "fb15k-237");
    assert!(PublicDataset::find("fb15k").is_none());
    for dataset in &PUBLIC_DATASETS {
        assert!(dataset.sha256.iter().all(|digest| digest.len() == 64));
        assert_eq!(dataset.name, dataset.name.to_lowercase());
    }
}
