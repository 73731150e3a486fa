{{- /*
NATS tells its users apart by Ed25519 keys, written as nkeys: a prefix, 32 bytes and their CRC-16 in base 32. Helm has
neither, but it makes Ed25519 keys, and a certificate that it makes of one holds the public half. The rest is arithmetic.
*/ -}}

{{- /* A new user: JSON with its seed and its public key. */ -}}
{{- define "quicprochat.nkey" -}}
{{- $pem := genPrivateKey "ed25519" -}}
{{- /* PKCS #8: the 32 bytes of the key come last. */ -}}
{{- $seed := include "quicprochat.der" $pem | b64dec | substr 16 48 -}}
{{- /* In the certificate they follow the algorithm and the opening of a bit string. */ -}}
{{- $opening := "+ep\x03!\x00" -}}
{{- $certificate := (genSelfSignedCertWithKey "nkey" (list) (list) 1 $pem).Cert -}}
{{- $public := include "quicprochat.der" $certificate | b64dec | splitList $opening | rest | join $opening -}}
{{- $seedText := include "quicprochat.nkeyText" (concat (list 149 0) (include "quicprochat.bytes" $seed | fromJsonArray)) -}}
{{- $publicText := include "quicprochat.nkeyText" (concat (list 160) (include "quicprochat.bytes" $public | fromJsonArray)) -}}
{{- dict "nkey" $seedText "public" $publicText | toJson -}}
{{- end -}}

{{- /* What stands between the lines of a PEM file. */ -}}
{{- define "quicprochat.der" -}}
{{- regexReplaceAll "-----[^-]+-----|\\s" . "" -}}
{{- end -}}

{{- /* The first 32 bytes as a JSON list of numbers. */ -}}
{{- define "quicprochat.bytes" -}}
{{- $text := . -}}
{{- $bytes := list -}}
{{- range $place := until 32 -}}{{- $bytes = append $bytes (index $text $place | int) -}}{{- end -}}
{{- $bytes | toJson -}}
{{- end -}}

{{- /* Bytes with their CRC-16 (XMODEM), low byte first, in base 32 without padding. */ -}}
{{- define "quicprochat.nkeyText" -}}
{{- $crc := 0 -}}
{{- range $byte := . -}}
  {{- range $bit := list 128 64 32 16 8 4 2 1 -}}
    {{- $differs := ne (mod (div $crc 32768) 2) (mod (div $byte $bit) 2) -}}
    {{- $crc = mod (mul $crc 2) 65536 -}}
    {{- if $differs -}}
      {{- /* Exclusive or with 0x1021. */ -}}
      {{- range $place := list 4096 32 1 -}}
        {{- $crc = ternary (sub $crc $place) (add $crc $place) (eq (mod (div $crc $place) 2) 1) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $letters := "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" -}}
{{- $held := 0 -}}
{{- $bits := 0 -}}
{{- range $byte := concat . (list (mod $crc 256) (div $crc 256)) -}}
  {{- $held = add (mul $held 256) $byte -}}
  {{- $bits = add $bits 8 -}}
  {{- range until 2 -}}
    {{- if ge $bits 5 -}}
      {{- $bits = sub $bits 5 -}}
      {{- $unit := index (list 1 2 4 8 16 32 64 128 256 512 1024 2048 4096) $bits -}}
      {{- $place := div $held $unit | int -}}
      {{- substr $place (add1 $place | int) $letters -}}
      {{- $held = mod $held $unit -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if gt $bits 0 -}}
  {{- $place := mul $held (index (list 0 16 8 4 2) $bits) | int -}}
  {{- substr $place (add1 $place | int) $letters -}}
{{- end -}}
{{- end -}}
