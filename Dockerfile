FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/foreman-relay ./cmd/foreman-relay \
 && CGO_ENABLED=0 go build -trimpath -o /out/stand-in ./test/foreman/stand-in

FROM debian:bookworm-slim
RUN useradd --system --uid 8008 --home-dir /var/lib/foreman-relay --create-home relay
COPY --from=build /out/ /usr/local/bin/
USER relay
# A volume of its own: the overlay of an image is no place for what must survive.
VOLUME /var/lib/foreman-relay
ENTRYPOINT ["foreman-relay"]
CMD ["serve", "--state-dir", "/var/lib/foreman-relay"]
