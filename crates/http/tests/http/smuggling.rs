//! Requests about whose length two HTTP servers may disagree, so that a proxy and this server would see different
//! requests in the same bytes ("request smuggling"). hyper decides about them; these tests state how.

use super::*;

#[tokio::test]
async fn a_request_whose_length_is_not_clear_is_refused() {
    for lines in [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2, 3\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: two\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 2\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: gzip\r\nContent-Length: 2\r\n",
        "Transfer-Encoding : chunked\r\n",
    ] {
        let request = post("/", lines, "hi") + &get("/smuggled");
        assert_eq!(Client::of_many().await.last_status(&request).await, 400, "{lines}");
    }
}

#[tokio::test]
async fn chunks_of_http_1_0_are_refused() {
    let request = post("/", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n").replace("1.1", "1.0");
    assert_eq!(Client::of_many().await.last_status(request).await, 400);
}

#[tokio::test]
async fn the_same_length_twice_is_one_length() {
    let mut client = Client::of_many().await;
    let lines = "Content-Length: 2\r\nContent-Length: 2\r\n";
    client.send(post("/", lines, "hi") + &get("/next")).await;
    assert_eq!(client.response().await, (200, "POST / hi".to_owned()));
    assert_eq!(client.response().await, (200, "GET /next ".to_owned()));
}

/// RFC 9112, section 6.3: the chunks count, whatever the length says. Nothing else is read from the connection.
#[tokio::test]
async fn chunks_count_more_than_a_length_and_end_the_connection() {
    let (chunked, length) = ("Transfer-Encoding: chunked\r\n", "Content-Length: 3\r\n");
    for lines in [[chunked, length].concat(), [length, chunked].concat()] {
        let mut client = Client::of_many().await;
        client.send(post("/", &lines, "2\r\nhi\r\n0\r\n\r\n") + &get("/smuggled")).await;
        assert_eq!(client.response().await, (200, "POST / hi".to_owned()), "{lines}");
        assert_eq!(client.rest().await, "", "{lines}");
    }
}

#[tokio::test]
async fn invalid_chunks_are_refused_and_end_the_connection() {
    for chunks in [
        "x\r\nhi\r\n0\r\n\r\n",
        "2\r\nhi, there\r\n0\r\n\r\n",
        "-2\r\nhi\r\n0\r\n\r\n",
        "2\nhi\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
    ] {
        let request = post("/", "Transfer-Encoding: chunked\r\n", chunks) + &get("/smuggled");
        assert_eq!(Client::of_many().await.last_status(&request).await, 400, "{chunks:?}");
    }
}

#[tokio::test]
async fn header_lines_that_others_may_read_differently_are_refused() {
    for lines in [
        " Content-Length: 2\r\n",
        "X: y\r\n Content-Length: 2\r\n",
        "Content\0-Length: 2\r\n",
        "Content-Length: 2\r\rX: y\r\n",
    ] {
        let request = post("/", lines, "hi") + &get("/smuggled");
        assert_eq!(Client::of_many().await.last_status(&request).await, 400, "{lines:?}");
    }
}
