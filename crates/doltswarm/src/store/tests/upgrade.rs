//! A store of an older format opens as one of this format, with all that was in it.

use super::*;

#[test]
fn the_first_format_is_brought_up_to_date() {
    let (dir, store) = new_store();
    add(&store, &commits(0..3)).unwrap();
    store.remember_merge(&hash(1), &hash(2), &hash(3)).unwrap();
    store.set_name("ann").unwrap();
    commits::downgrade_for_test(&store, FORMAT_VERSION_MIN);
    aside::drop_for_test(&store);
    meta::set_for_test(&store, "version", &FORMAT_VERSION_MIN.to_le_bytes());
    let store = reopen(dir.path(), store);
    assert_eq!(store.restore_commits().unwrap(), commits(0..3));
    assert_eq!(store.name().unwrap().as_deref(), Some("ann"));
    // Merges are only a cache.
    assert_eq!(store.merges(10).unwrap(), []);
    assert!(store.set_aside().unwrap().is_empty());
    store.add_set_aside(&hash(2), "too large").unwrap();
    let store = reopen(dir.path(), store);
    assert_eq!(store.set_aside().unwrap().len(), 1);
    assert_eq!(*store.founding(), founding());
}

#[test]
fn the_format_before_is_brought_up_to_date() {
    let (dir, store) = new_store();
    add(&store, &commits(0..3)).unwrap();
    store.remember_merge(&hash(1), &hash(2), &hash(3)).unwrap();
    store.add_set_aside(&hash(2), "too large").unwrap();
    let before = FORMAT_VERSION - 1;
    commits::downgrade_for_test(&store, before);
    meta::set_for_test(&store, "version", &before.to_le_bytes());
    let store = reopen(dir.path(), store);
    assert_eq!(store.restore_commits().unwrap(), commits(0..3));
    assert_eq!(store.signatures(&[hash(1)]).unwrap(), [vec![signed(&commit(1))]]);
    assert_eq!(store.merges(10).unwrap().len(), 1);
    assert_eq!(store.set_aside().unwrap().len(), 1);
}
