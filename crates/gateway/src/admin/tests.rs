//! The OpenAPI document and the routes are one list.

use std::collections::BTreeSet;

use serde_json::Value;

use super::ROUTES;

#[test]
fn every_route_is_in_the_document_and_the_reverse() {
    let document: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
    let mut told = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            told.insert((path.clone(), method.to_uppercase()));
        }
    }
    let there: BTreeSet<_> = ROUTES
        .iter()
        .flat_map(|route| route.methods.iter().map(|method| (route.path.to_owned(), (*method).to_owned())))
        .collect();
    assert_eq!(told, there);
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let text = include_str!("openapi.json");
    let document: Value = serde_json::from_str(text).unwrap();
    let references: Vec<&str> =
        text.split("\"$ref\": \"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(!references.is_empty());
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
}
